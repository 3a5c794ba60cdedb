"""Run functions of `keras.ops` on NumPy arrays. Only here the tests differ by backend."""

import contextlib
import gc

import keras

BACKEND = keras.backend.backend()

if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf
else:
    import torch


def _to_numpy(tensors):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, tensors)


def evaluate(function, *arrays):
    """The results of `function` for `arrays`, as NumPy arrays. On JAX it is compiled, which is much faster."""
    arrays = [keras.ops.convert_to_tensor(array) for array in arrays]
    return _to_numpy((jax.jit(function) if BACKEND == "jax" else function)(*arrays))


def gradients(function, arrays, cotangent):
    """The outputs of `function` for `arrays`, and the gradients of `sum(outputs * cotangent)` in each of them.

    Args:
        function: function of as many tensors as there are `arrays`, that returns a tensor.
        arrays: NumPy arrays.
        cotangent: NumPy array of the shape of the outputs.

    Returns:
        `(outputs, gradients)`: a NumPy array, and a list of them.
    """
    arrays = [keras.ops.convert_to_tensor(array) for array in arrays]

    def pull_back(*tensors):
        if BACKEND == "jax":
            outputs, pull = jax.vjp(function, *tensors)
            return outputs, list(pull(cast(outputs)))
        if BACKEND == "tensorflow":
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = function(*tensors)
            return outputs, tape.gradient(outputs, tensors, output_gradients=cast(outputs))
        tensors = [tensor.requires_grad_() for tensor in tensors]
        outputs = function(*tensors)
        return outputs, list(torch.autograd.grad(outputs, tensors, cast(outputs)))

    def cast(outputs):
        return keras.ops.convert_to_tensor(cotangent, dtype=outputs.dtype)

    return _to_numpy((jax.jit(pull_back) if BACKEND == "jax" else pull_back)(*arrays))


def double_precision():
    """A context in which float64 arrays keep their dtype. Outside, JAX converts them to float32."""
    return jax.enable_x64(True) if BACKEND == "jax" else contextlib.nullcontext()


def bytes_alive():
    """Bytes of all arrays that are still referenced."""
    gc.collect()
    if BACKEND == "jax":
        return sum(array.nbytes for array in jax.live_arrays())
    if BACKEND == "tensorflow":
        kind = type(tf.zeros(()))
        return sum(t.dtype.size * t.shape.num_elements() for t in gc.get_objects() if type(t) is kind)
    # Views share a storage. `type`, as `isinstance` would ask lazy modules, too, which then import what is missing.
    # Other subclasses are those of an export, which have no memory.
    tensors = [tensor for tensor in gc.get_objects() if type(tensor) in (torch.Tensor, torch.nn.Parameter)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
