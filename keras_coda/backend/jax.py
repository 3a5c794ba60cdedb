"""JAX."""

import os
import pathlib
import platform
import threading

import jax
from keras import ops

from keras_coda.backend.conventions import keras_exports

# Replaces `keras_coda.contractions.blocked`, where the backend has kernels of its own.
cpu_kernels = None
# Replaces the function of `keras_coda.linear_maps.convolution` that cuts patches out of images.
windows = None
# One call after the other, as `keras.ops.map` does here.
map_in_turn = ops.map

# What threads that compute with one model's variables hold: Keras' `predict` takes them out of the model for a while.
one_at_a_time = threading.RLock()


def keep_compiled():
    """Keep compiled programs in a folder of the user's cache directory, for later processes.

    JAX' own settings go first: JAX_COMPILATION_CACHE_DIR is another folder, and with JAX_ENABLE_COMPILATION_CACHE=false
    nothing is kept. Each host has a folder, as code for one CPU may not run on another.
    """
    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = pathlib.Path(caches, "keras-coda", "jax", platform.node())
        jax.config.update("jax_compilation_cache_dir", str(folder))


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now, which is not so while a function is traced."""
    return not isinstance(tensor, jax.core.Tracer)


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is written for other programs, where that can be told."""
    # Axes of any size are in no other graphs.
    return not all(isinstance(size, int) for size in tensor.shape) or (not is_concrete(tensor) and keras_exports())


def export_onnx(model, path, signature, **arguments):
    """Write a model of one input as an ONNX file, as `keras.Model.export` does.

    Args:
        model: a Keras model.
        path: string, the file.
        signature: a list of the `keras.layers.InputSpec` of its input.
        **arguments: of `keras.Model.export`.
    """
    model.export(path, format="onnx", input_signature=signature, **arguments)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return jax.default_backend() == "cpu"


def records_gradients(tensor):
    """Whether a backward pass may reach `tensor`. False only where none can."""
    return True


def gpu_kernels():
    """The kernels of the contraction "fused", imported only where they are asked for."""
    from keras_coda.backend.kernels import fused_jax

    return fused_jax


def custom_gradient(forward, backward):
    """A function of tensors with a gradient of its own.

    Args:
        forward: function of the tensors that returns `(output, residuals)`: a tensor, and a tuple of all tensors that
            `backward` needs.
        backward: function of `residuals` and the gradient in `output`, that returns the gradients in the tensors, as
            a tuple; None for one that is not needed.

    Returns:
        The function of the tensors that returns `output`.
    """
    function = jax.custom_vjp(lambda *tensors: forward(*tensors)[0])
    function.defvjp(forward, backward)
    return function


def prefers_gpu_kernels(dtype):
    """Whether `gpu_kernels` are the fastest choice for `dtype` on this device. Measured on Hopper GPUs only."""
    return dtype == "bfloat16" and getattr(jax.devices()[0], "compute_capability", None) == "9.0"


def pull_back(function, inputs):
    """The gradients of a function in a tensor.

    Args:
        function: function of a tensor that returns outputs, a tensor, and anything else, which is not differentiated.
        inputs: tensor.

    Returns:
        `(outputs, auxiliary, pull)`: what `function` returns, and the function that takes several gradients in the
        outputs, stacked, to those in `inputs`.
    """
    outputs, pull, auxiliary = jax.vjp(function, inputs, has_aux=True)
    # A loop: unrolled, it takes long to compile.
    return outputs, auxiliary, lambda gradients: jax.lax.map(pull, gradients)[0]
