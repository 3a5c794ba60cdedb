"""PyTorch."""

import torch
from keras.src.backend.torch.core import get_device
from torch._subclasses.fake_tensor import FakeTensor


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a graph being compiled or exported."""
    return not (torch.compiler.is_compiling() or isinstance(tensor, FakeTensor) or tensor.device.type == "meta")


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return get_device() == "cpu"


def scan(body, carry, blocks, outputs):
    """Call `body` on one block after the other. See `keras_coda.backend.jax.scan`."""
    results = []
    for block in zip(*blocks, strict=True):
        carry, values = body(carry, list(block))
        results.append(values)
    return carry, [torch.stack(values) for values in zip(*results, strict=True)]
