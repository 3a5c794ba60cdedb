"""TensorFlow."""

import tensorflow as tf

# Kernels of its own in the place of `keras_coda.contractions.blocked`.
cpu_kernels = None


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a graph being traced."""
    return not tf.is_symbolic_tensor(tensor)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")


def gpu_kernels():
    """The kernels of the contraction "fused": there are none."""
    raise ValueError('There are no fused kernels on TensorFlow: take the contraction "direct", "blocked" or "auto".')


def pull_back(function, inputs):
    """The outputs of `function` for a tensor, and the function that takes gradients in the outputs to those in it."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs = function(inputs)

    def pull(gradients):
        return tape.gradient(outputs, inputs, gradients, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return outputs, pull
