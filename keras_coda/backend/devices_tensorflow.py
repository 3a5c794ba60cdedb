"""Several devices on TensorFlow: `tf.distribute.MirroredStrategy`, in one process."""

import functools

import tensorflow as tf

# Keras applies the first three to the gradients of each device before their sum. The others cannot be traced.
_OF_ONE_DEVICE = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps", "ema_overwrite_frequency")


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
    if devices == 1:
        return function(*arguments)
    with _strategy(devices).scope():
        return function(*arguments)


def replicas():
    """The number that a loss is divided by, since gradients are summed over that many devices."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def check_optimizer(optimizer, dtype, devices):
    """Raise a ValueError if a training on `devices` devices would not equal that on one."""
    received = {name: value for name in _OF_ONE_DEVICE if (value := getattr(optimizer, name))}
    # Loss scaling looks for overflows in the gradients of the first device only.
    if dtype == "mixed_float16":
        received["dtype"] = dtype
    if devices > 1 and received:
        raise ValueError(
            "On several devices, Keras on TensorFlow does not train as on one with all settings. Expected: one device, "
            f"JAX or PyTorch, or none of {[*received]}. Received: {received}, devices={devices}"
        )
