"""Several devices on JAX: `keras.distribution.DataParallel`. One process sees all devices of its host."""

import contextlib

import jax
import keras


def device_count():
    """The number of devices to train on."""
    return len(keras.distribution.list_devices())


def process():
    """`(index, count)`: which of how many processes that train together this one is, each with its part of the data."""
    return jax.process_index(), jax.process_count()


def run_on(devices, function, *arguments):
    """`function(*arguments)`, with the models that it makes and trains on `devices` devices."""
    names = keras.distribution.list_devices()[:devices]
    with keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope():
        return function(*arguments)


def replicas():
    """By how many a loss is divided because gradients are summed over as many devices."""
    return 1


def average_gradients(model):
    """A function of a loss, which it returns: the loss' gradients in `model` will be means over all processes."""
    return lambda loss: loss


def summed(variables):
    """A context in which `variables` are sums over all processes."""
    return contextlib.nullcontext()
