"""PyTorch."""

import torch
from torch._subclasses.fake_tensor import FakeTensor


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a graph being compiled or exported."""
    return not (torch.compiler.is_compiling() or isinstance(tensor, FakeTensor) or tensor.device.type == "meta")
