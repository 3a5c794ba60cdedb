"""Several devices on TensorFlow: `tf.distribute.MirroredStrategy`, in one process."""

import contextlib
import functools

import tensorflow as tf


def _names():
    return [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


@functools.cache
def _strategy(devices):
    """One for all trainings: two strategies on the same CPU devices would number their reductions alike and clash."""
    return tf.distribute.MirroredStrategy(_names()[:devices])


def device_count():
    """The number of devices to train on."""
    return len(_names())


def process():
    """`(index, count)`: which of how many processes that train together this one is, each with its part of the data."""
    return 0, 1


def run_on(devices, function, *arguments):
    """`function(*arguments)`, with the models that it makes and trains on `devices` devices."""
    with _strategy(devices).scope():
        return function(*arguments)


def replicas():
    """By how many a loss is divided because gradients are summed over as many devices."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def average_gradients(model):
    """A function of a loss, which it returns: the loss' gradients in `model` will be means over all processes."""
    return lambda loss: loss


def summed(variables):
    """A context in which `variables` are sums over all processes."""
    return contextlib.nullcontext()
