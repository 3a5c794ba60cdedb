"""TensorFlow."""

import tensorflow as tf


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a graph being traced."""
    return not tf.is_symbolic_tensor(tensor)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")


def scan(body, carry, blocks, outputs):
    """Call `body` on one block after the other. See `keras_coda.backend.jax.scan`."""
    count = blocks[0].shape[0]
    count = tf.shape(blocks[0])[0] if count is None else count
    inputs = [tf.TensorArray(b.dtype, count, element_shape=b.shape[1:]).unstack(b) for b in blocks]
    results = [tf.TensorArray(dtype, count, element_shape=shape) for shape, dtype in outputs]

    def step(i, carry, results):
        carry, values = body(carry, [array.read(i) for array in inputs])
        return i + 1, carry, [array.write(i, value) for array, value in zip(results, values, strict=True)]

    _, carry, results = tf.while_loop(lambda i, *_: i < count, step, (0, carry, results), parallel_iterations=1)
    return carry, [array.stack() for array in results]
