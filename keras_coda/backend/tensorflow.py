"""TensorFlow."""

import contextlib

import tensorflow as tf

from keras_coda.backend.conventions import keras_exports

# Replaces `keras_coda.contractions.blocked` if the backend has kernels of its own.
cpu_kernels = None
# Replaces the function of `keras_coda.linear_maps.convolution` that cuts patches out of images.
windows = None

# No lock for threads that compute with the same model, since nothing of it is changed.
one_at_a_time = contextlib.nullcontext()
# What `keras.Model.export` is told for a SavedModel.
saved_model_arguments: dict = {}
# Whether `fit` takes batches that are on the device without copying them to the host. `tf.data` is on the host.
takes_device_batches = False


def compiled(function):
    """A function of tensors that computes the same as `function`: `function` itself, since nothing is compiled here."""
    return function


def keep_compiled():
    """Keep compiled programs for later processes. Does nothing: each process builds TensorFlow's graphs anew."""


def input_pipeline(dataset):
    """What `fit` and `predict` take in place of a `PyDataset`: the same object, or TensorFlow's own form of it.

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


def weights_kept(model, trains=False):
    """A context in which an error or an interruption leaves a model its variables. Nothing takes them away here."""
    return contextlib.nullcontext()


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now, which is not so while a graph is traced."""
    return not tf.is_symbolic_tensor(tensor)


def is_exporting(tensor):
    """Whether `tensor` is part of a graph that is being exported, as far as this is known."""
    return tf.is_symbolic_tensor(tensor) and keras_exports()


def export_onnx(model, path, signature, **arguments):
    """Write a model of one input as an ONNX file, as `keras.Model.export` does.

    Args:
        model: a Keras model.
        path: string, the file.
        signature: a list of the `keras.layers.InputSpec` of its input.
        **arguments: of `keras.Model.export`.

    Returns:
        Whether the graph was traced with one size of images, and may hold it, where it is to take any. Never: sizes
        are symbols.
    """
    model.export(path, format="onnx", input_signature=signature, **arguments)
    return False


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")


def records_gradients(tensor):
    """Whether gradients with respect to `tensor` may be computed. False only if that is certain."""
    return True


def gpu_kernels():
    """The kernels of the contraction "fused": there are none."""
    raise ValueError('There are no fused kernels on TensorFlow: take the contraction "direct", "blocked" or "auto".')


def custom_gradient(forward, backward):
    """A function of tensors with a gradient of its own.

    Args:
        forward: function of the tensors that returns `(output, residuals)`: a tensor, and a tuple of all tensors that
            `backward` needs.
        backward: function of `residuals` and the gradient with respect to `output`. It returns a tuple of gradients
            with respect to the tensors, with `None` where one is not needed.

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

    TensorFlow would run up to ten calls at once. That takes more memory, and is not faster.
    """
    outputs = function([array[0] for array in arrays])
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, outputs)
    return tf.map_fn(function, arrays, parallel_iterations=1, fn_output_signature=signature)


def pull_back(function, inputs):
    """The outputs of a function, and the function that takes gradients back to its inputs.

    Args:
        function: function of a tensor that returns `(outputs, auxiliary)`: a tensor, and anything else, which is not
            differentiated.
        inputs: tensor.

    Returns:
        `(outputs, auxiliary, pull)`. `pull` takes several gradients with respect to the outputs, stacked along a first
        axis, and returns those with respect to `inputs`, stacked alike.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        outputs, auxiliary = function(inputs)

    def pull(gradients):
        zero = tf.UnconnectedGradients.ZERO
        return tf.stack([tape.gradient(outputs, inputs, g, unconnected_gradients=zero) for g in tf.unstack(gradients)])

    return outputs, auxiliary, pull
