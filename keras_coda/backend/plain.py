"""What a backend does if its own module does not say otherwise, and the signatures of all functions that differ.

What most backends need not do does nothing here. `is_concrete`, `is_exporting`, `runs_on_cpu`, `gpu_kernels`,
`device_count` and `run_on` are each backend's own.
"""

import contextlib

from keras import ops

# Replaces `keras_coda.contractions.blocked` if the backend has kernels of its own.
cpu_kernels = None
# Replaces the function of `keras_coda.linear_maps.convolution` that cuts patches out of images.
windows = None
# `keras.ops.map` over a list of tensors, one call after the other.
map_in_turn = ops.map

# A lock for threads that compute with the same model. None, where nothing of the model is changed.
one_at_a_time = contextlib.nullcontext()
# What `keras.Model.export` is told for a SavedModel.
saved_model_arguments: dict = {}
# Whether `fit` takes batches that are on the device without copying them to the host.
takes_device_batches = True


def compiled(function):
    """A function of tensors that computes the same as `function`, compiled at its first call for each shape.

    Here `function` itself: nothing is compiled.
    """
    return function


def keep_compiled():
    """Keep compiled programs for later processes. Does nothing here."""


def input_pipeline(dataset):
    """What `fit` and `predict` take in place of a `PyDataset`: the same object, or TensorFlow's own form of it."""
    return dataset


def weights_kept(model, trains=False):
    """A context in which an error or an interruption leaves a model its variables. Nothing takes them away here.

    Args:
        model: a Keras model.
        trains: whether the optimizer's variables are to be kept, too.
    """
    return contextlib.nullcontext()


def export_onnx(model, path, signature, **arguments):
    """Write a model of one input as an ONNX file, as `keras.Model.export` does.

    Args:
        model: a Keras model.
        path: string, the file.
        signature: a list of the `keras.layers.InputSpec` of its input.
        **arguments: of `keras.Model.export`.

    Raises:
        ValueError: the backend cannot write the model.
    """
    model.export(path, format="onnx", input_signature=signature, **arguments)


def records_gradients(tensor):
    """Whether gradients with respect to `tensor` may be computed. False only if that is certain."""
    return True


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
    raise NotImplementedError


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
    raise NotImplementedError


def prefers_gpu_kernels(dtype):
    """Whether `gpu_kernels` are the fastest choice for `dtype` on this device. Measured on Hopper GPUs only."""
    return False


def process():
    """`(index, count)`: the index of this process, and how many train together, each on its part of the data."""
    return 0, 1


def replicas():
    """The number that a loss is divided by, since gradients are summed over that many devices. PyTorch takes means."""
    return 1


def check_optimizer(optimizer, dtype, devices):
    """Raise a ValueError if a training on `devices` devices would not equal that on one. Here it always does.

    Args:
        optimizer: a Keras optimizer.
        dtype: name of the dtype policy of the training.
        devices: integer.
    """


def average_gradients(model):
    """Return a function that passes a loss through. Its gradients in `model` become means over all processes."""
    return lambda loss: loss


def summed(variables):
    """Context in which `variables` hold sums over all processes."""
    return contextlib.nullcontext()
