"""TensorFlow."""

import tensorflow as tf


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a graph being traced."""
    return not tf.is_symbolic_tensor(tensor)
