"""TensorFlow."""

import tensorflow as tf

from keras_coda.backend.conventions import keras_exports

# `tf.data` is on the host.
takes_device_batches = False


def input_pipeline(dataset):
    """The same batches, in a pipeline without Keras' tuner, see `plain.input_pipeline`.

    Keras lets TensorFlow tune the pipeline that it makes of a `PyDataset`. The tuner's thread sleeps for up to a minute
    at a time, and TensorFlow waits for it at the end of an epoch. This pipeline has no such thread.

    Args:
        dataset: a finite `PyDataset` whose batches are tuples of arrays, or of dictionaries of arrays.

    Returns:
        A `tf.data.Dataset` with the same batches in the same order, made anew for each epoch.
    """

    def batches():
        for number in range(len(dataset)):
            yield dataset[number]

    signature = tf.nest.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), dataset[0])
    options = tf.data.Options()
    options.autotune.enabled = False
    pipeline = tf.data.Dataset.from_generator(batches, output_signature=signature)
    counted = pipeline.apply(tf.data.experimental.assert_cardinality(len(dataset)))
    return counted.prefetch(1).with_options(options)


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now, which is not so while a graph is traced."""
    return not tf.is_symbolic_tensor(tensor)


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is being exported, as far as this is known."""
    return tf.is_symbolic_tensor(tensor) and keras_exports()


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")


def gpu_kernels():
    """The kernels of the contraction "fused": there are none."""
    raise ValueError('There are no fused kernels on TensorFlow: take the contraction "direct", "blocked" or "auto".')


def custom_gradient(forward, backward):
    """A function of tensors with a gradient of its own, see `plain.custom_gradient`."""

    @tf.custom_gradient
    def function(*tensors):
        output, residuals = forward(*tensors)
        return output, lambda gradient: backward(residuals, gradient)

    return function


def map_in_turn(function, arrays):
    """`keras.ops.map` over a list of tensors, one call after the other.

    TensorFlow would run up to ten calls at once. That takes more memory, and is not faster.
    """
    outputs = function([array[0] for array in arrays])
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs)
    return tf.map_fn(function, arrays, parallel_iterations=1, fn_output_signature=signature)


def pull_back(function, inputs):
    """The outputs of a function, and its gradients, see `plain.pull_back`."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs, auxiliary = function(inputs)

    def pull(gradients):
        zero = tf.UnconnectedGradients.ZERO
        return tf.stack([tape.gradient(outputs, inputs, g, unconnected_gradients=zero) for g in tf.unstack(gradients)])

    return outputs, auxiliary, pull
