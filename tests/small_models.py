"""One small network for many tests, so that JAX compiles it, and its initializers, once."""

import numpy as np

from keras_coda import CoDANet

IMAGE_SHAPE, CLASSES, TEMPERATURE, LOGIT_BIAS = (5, 6, 3), 4, 5.0, -0.7


def small_coda_net(**kwargs):
    """A `CoDANet` for images `(N, 5, 6, 3)`, with a layer of each kind; `kwargs` replace its arguments."""
    arguments = {
        "filters": [3, 5, CLASSES],
        "kernel_sizes": [3, 3, 1],
        "ranks": [2, 3, 3],
        "strides": [1, 2, 1],
        "temperature": TEMPERATURE,
        "logit_bias": LOGIT_BIAS,
        "image_shape": IMAGE_SHAPE,
        "data_format": "channels_last",
    }
    return CoDANet(**{**arguments, **kwargs})


def same(model, other):
    """Whether two models have the same weights."""
    return all(map(np.array_equal, model.get_weights(), other.get_weights()))


def copy(model):
    """A model with the same configuration and weights."""
    fresh = type(model).from_config(model.get_config())
    fresh.set_weights(model.get_weights())
    return fresh
