"""TensorFlow."""

import contextlib

import tensorflow as tf

from keras_coda.backend.conventions import keras_exports

# Replaces `keras_coda.contractions.blocked`, where the backend has kernels of its own.
cpu_kernels = None
# Replaces the function of `keras_coda.linear_maps.convolution` that cuts patches out of images.
windows = None

# What threads that compute with one model's variables hold: nothing, as nothing is changed.
one_at_a_time = contextlib.nullcontext()


def keep_compiled():
    """Keep compiled programs for later processes. Does nothing: each process builds TensorFlow's graphs anew."""


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now, which is not so while a graph is traced."""
    return not tf.is_symbolic_tensor(tensor)


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is written for other programs, where that can be told."""
    return tf.is_symbolic_tensor(tensor) and keras_exports()


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
    return not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")


def records_gradients(tensor):
    """Whether a backward pass may reach `tensor`. False only where none can."""
    return True


def gpu_kernels():
    """The kernels of the contraction "fused": there are none."""
    raise ValueError('There are no fused kernels on TensorFlow: take the contraction "direct", "blocked" or "auto".')


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

    @tf.custom_gradient
    def function(*tensors):
        output, residuals = forward(*tensors)
        return output, lambda gradient: backward(residuals, gradient)

    return function


def prefers_gpu_kernels(dtype):
    """Whether `gpu_kernels` are the fastest choice for `dtype`. Never: there are none."""
    return False


def map_in_turn(function, arrays):
    """`keras.ops.map` over a list of tensors, one call after the other.

    TensorFlow would have up to ten calls' intermediates in memory at once, and be no faster.
    """
    outputs = function([array[0] for array in arrays])
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs)
    return tf.map_fn(function, arrays, parallel_iterations=1, fn_output_signature=signature)


def pull_back(function, inputs):
    """The gradients of a function in a tensor.

    Args:
        function: function of a tensor that returns outputs, a tensor, and anything else, which is not differentiated.
        inputs: tensor.

    Returns:
        `(outputs, auxiliary, pull)`: what `function` returns, and the function that takes several gradients in the
        outputs, stacked, to those in `inputs`.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs, auxiliary = function(inputs)

    def pull(gradients):
        zero = tf.UnconnectedGradients.ZERO
        return tf.stack([tape.gradient(outputs, inputs, g, unconnected_gradients=zero) for g in tf.unstack(gradients)])

    return outputs, auxiliary, pull
