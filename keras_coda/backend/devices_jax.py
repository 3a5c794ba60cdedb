"""Several devices on JAX: `keras.distribution.DataParallel`. One process sees all devices of its host."""

import jax
import keras


def device_count():
    """The number of devices to train on."""
    return len(keras.distribution.list_devices())


def process():
    """`(index, count)`: the index of this process, and how many train together, each on its part of the data."""
    return jax.process_index(), jax.process_count()


def run_on(devices, function, *arguments):
    """Call `function(*arguments)`. The models that it builds train on `devices` devices."""
    names = keras.distribution.list_devices()[:devices]
    with keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope():
        return function(*arguments)
