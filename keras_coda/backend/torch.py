"""PyTorch."""

import contextlib
import functools
import itertools
import warnings
from importlib.util import find_spec

import torch
from keras import ops
from torch._subclasses.fake_tensor import FakeTensor

from keras_coda.backend import plain
from keras_coda.backend.conventions import probe
from keras_coda.backend.kernels import blocked_torch

cpu_kernels = blocked_torch


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is in no graph that is compiled, exported or transformed."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # `torch.func` has no public way to tell its tensors.
    transformed = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not (transformed or isinstance(tensor, FakeTensor) or tensor.device.type == "meta")


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is being exported, as far as this is known."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def export_onnx(model, path, signature, **arguments):
    """Write a model as an ONNX file, see `plain.export_onnx`, also for images of any size.

    Of those Keras traces one of a single pixel, which is less than most networks take. A graph that holds gradients
    cannot be traced.
    """
    [images] = signature
    free = {axis: f"axis_{axis}" for axis, size in enumerate(images.shape) if size is None}
    with _modes_kept(model), _no_gradients_traced(), warnings.catch_warnings():
        # PyTorch says of each check of a shape that the check is not in the file, and of itself that it is the older
        # exporter. Warnings of the model are shown.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", module=r"torch\b")
        if None not in images.shape[1:]:
            plain.export_onnx(model, path, signature, **arguments)
            return
        torch.onnx.export(
            model,
            (sample_of(images),),
            path,
            input_names=["images"],
            dynamic_axes={"images": free},
            dynamo=False,
            **arguments,
        )


@contextlib.contextmanager
def _no_gradients_traced():
    """A context that explains PyTorch's error where a graph with gradients is traced."""
    try:
        yield
    except AssertionError as error:
        raise ValueError(
            "PyTorch cannot write this model to ONNX. The maps of some layers are computed as gradients, such as those "
            "of depthwise convolutions, resizes, and operations like `ops.mean` and slices. Expected: a model without "
            "them, a file of `torch.export` (.pt2), or the backend TensorFlow or JAX."
        ) from error


@contextlib.contextmanager
def _modes_kept(model):
    """A context after which modules are in training or evaluation as before. The exporters set it for all."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def sample_of(images):
    """Two images of ones for an `InputSpec`, to trace a graph with that takes images of any size."""
    return ops.ones([2, *probe(images.shape[1:])], images.dtype)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return _device().type == "cpu"


def _device():
    """The device on which Keras puts new tensors."""
    return ops.zeros((0,)).device


def records_gradients(tensor):
    """Whether gradients with respect to `tensor` may be computed. False only if that is certain."""
    return torch.is_grad_enabled() and tensor.requires_grad


def gpu_kernels():
    """The module of kernels for the contraction "fused", imported only when it is needed."""
    from keras_coda.backend.kernels import fused_torch

    return fused_torch


class _CustomGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, forward, backward, *tensors):
        output, residuals = forward(*tensors)
        # Not in a closure: checkpoints can discard and recompute only tensors that are saved here.
        ctx.save_for_backward(*residuals)
        ctx.backward_of_residuals = backward
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return None, None, *ctx.backward_of_residuals(ctx.saved_tensors, gradient)


def custom_gradient(forward, backward):
    """A function of tensors with a gradient of its own, see `plain.custom_gradient`."""
    return functools.partial(_CustomGradient.apply, forward, backward)


def prefers_gpu_kernels(dtype):
    """Whether `gpu_kernels` are the fastest choice for `dtype` on this device. Measured on Hopper GPUs only."""
    hopper = _device().type == "cuda" and torch.cuda.get_device_capability() == (9, 0)
    # A graph that is compiled or exported cannot hold them.
    return hopper and dtype == "bfloat16" and not torch.compiler.is_compiling() and bool(find_spec("triton"))


def windows(images, kernel_size, strides):
    """The pixels under a kernel at each of its positions on `images (..., H, W, c)`: `(..., h, w, k k c)`.

    One copy makes all patches, and gradients are summed in one array. Without this, PyTorch would make an array for
    each entry of the kernel.
    """
    shape = images.shape

    def forward(images):
        by_row = images.unfold(-3, kernel_size[0], strides[0])
        # From (..., h, w, c, k, k).
        return by_row.unfold(-3, kernel_size[1], strides[1]).movedim(-3, -1).flatten(-3), ()

    def backward(_, gradient):
        total = gradient.new_zeros(shape)
        shifted = gradient.unflatten(-1, (*kernel_size, shape[-1]))
        rows, columns = (
            [slice(first, size - k + first + 1, stride) for first in range(k)]
            for size, k, stride in zip(shape[-3:-1], kernel_size, strides, strict=True)
        )
        for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
            total[..., row, column, :] += shifted[..., i, j, :]
        return (total,)

    return custom_gradient(forward, backward)(images)


def pull_back(function, inputs):
    """The outputs of a function, and its gradients, see `plain.pull_back`."""
    # Keras' `predict` turns gradients off.
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        outputs, auxiliary = function(inputs)

    def pull(gradients):
        settings = {"retain_graph": True, "materialize_grads": True}
        return torch.stack([torch.autograd.grad(outputs, inputs, gradient, **settings)[0] for gradient in gradients])

    return outputs.detach(), auxiliary, pull
