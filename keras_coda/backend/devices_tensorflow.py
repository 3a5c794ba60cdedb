"""Several devices on TensorFlow: `tf.distribute.MirroredStrategy`, in one process."""

import contextlib
import functools

import tensorflow as tf


def _names():
    return [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


@functools.cache
def _strategy(devices):
    """The one strategy for all trainings. Two on the same CPU devices would number their reductions alike and clash."""
    return tf.distribute.MirroredStrategy(_names()[:devices])


def device_count():
    """The number of devices to train on."""
    return len(_names())


def process():
    """`(index, count)`: the index of this process, and how many train together, each on its part of the data."""
    return 0, 1


def run_on(devices, function, *arguments):
    """Call `function(*arguments)`. The models that it builds train on `devices` devices."""
    with _strategy(devices).scope():
        return function(*arguments)


def replicas():
    """The number that a loss is divided by, since gradients are summed over that many devices."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def average_gradients(model):
    """Return a function that passes a loss through. Its gradients in `model` become means over all processes."""
    return lambda loss: loss


def summed(variables):
    """Context in which `variables` hold sums over all processes."""
    return contextlib.nullcontext()
