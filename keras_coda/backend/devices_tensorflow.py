"""Several devices on TensorFlow: `tf.distribute.MirroredStrategy`, in one process."""

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


def run_on(devices, function, *arguments):
    """Call `function(*arguments)`. The models that it builds train on `devices` devices."""
    with _strategy(devices).scope():
        return function(*arguments)


def replicas():
    """The number that a loss is divided by, since gradients are summed over that many devices."""
    return tf.distribute.get_strategy().num_replicas_in_sync
