"""JAX."""

import contextlib
import os
import pathlib
import platform
import threading

import jax

from keras_coda.backend import plain
from keras_coda.backend.conventions import keras_exports

# Keras' `predict` removes a model's variables for a while.
one_at_a_time = threading.RLock()
# No gradients, which JAX lacks where sizes are not known.
saved_model_arguments = {"jax2tf_kwargs": {"with_gradient": False}}


def compiled(function):
    """A function of tensors that computes the same as `function`, compiled at its first call for each shape."""
    return jax.jit(function)


def keep_compiled():
    """Keep compiled programs in a folder of the user's cache directory, for later processes.

    JAX' own settings have priority: JAX_COMPILATION_CACHE_DIR is another folder, and with
    JAX_ENABLE_COMPILATION_CACHE=false nothing is kept. Each host has its own folder, since code for one CPU may not run
    on another.
    """
    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = pathlib.Path(caches, "keras-coda", "jax", platform.node())
        jax.config.update("jax_compilation_cache_dir", str(folder))


@contextlib.contextmanager
def weights_kept(model, trains=False):
    """A context that leaves a model its variables, see `plain.weights_kept`.

    Keras takes them out of a model while it trains, evaluates and predicts, and would lose them.
    """
    variables = [*model.variables, *model.metrics_variables]
    if trains and getattr(model, "optimizer", None) is not None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables += model.optimizer.variables
    values = [variable.value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()  # to those of the last step, if there was one
        model._jax_state = None
        for variable, value in zip(variables, values, strict=True):
            if variable._value is None:
                variable.assign(value)
        raise


def is_concrete(tensor):
    """Whether the values of `tensor` can be read. While a function is traced, they cannot."""
    return not isinstance(tensor, jax.core.Tracer)


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is being exported, as far as this is known."""
    # Only exported graphs have axes of unknown size.
    return not all(isinstance(size, int) for size in tensor.shape) or (not is_concrete(tensor) and keras_exports())


def export_onnx(model, path, signature, **arguments):
    """Write a model as an ONNX file, see `plain.export_onnx`, with an error that says what jax2onnx can write."""
    try:
        plain.export_onnx(model, path, signature, **arguments)
    except Exception as error:
        if isinstance(error, ImportError):
            raise
        raise ValueError(
            "jax2onnx cannot write this model. It writes the maps of one class, such as explain='predicted', for "
            "images of one size, such as image_shape=(32, 32, 3). For maps of several classes or images of any size "
            "write the file with PyTorch or TensorFlow. "
            f"Received: image_shape={tuple(signature[0].shape[1:])}, and from jax2onnx: {error}"
        ) from error


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return jax.default_backend() == "cpu"


def gpu_kernels():
    """The module of kernels for the contraction "fused", imported only when it is needed."""
    from keras_coda.backend.kernels import fused_jax

    return fused_jax


def custom_gradient(forward, backward):
    """A function of tensors with a gradient of its own, see `plain.custom_gradient`."""
    function = jax.custom_vjp(lambda *tensors: forward(*tensors)[0])
    function.defvjp(forward, backward)
    return function


def prefers_gpu_kernels(dtype):
    """Whether `gpu_kernels` are the fastest choice for `dtype` on this device. Measured on Hopper GPUs only."""
    return dtype == "bfloat16" and getattr(jax.devices()[0], "compute_capability", None) == "9.0"


def pull_back(function, inputs):
    """The outputs of a function, and its gradients, see `plain.pull_back`."""
    outputs, pull, auxiliary = jax.vjp(function, inputs, has_aux=True)
    # A loop, since an unrolled one takes long to compile.
    return outputs, auxiliary, lambda gradients: jax.lax.map(pull, gradients)[0]
