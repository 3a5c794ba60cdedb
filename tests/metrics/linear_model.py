"""A linear model of images `(N, 3, 4, 2)`, for which all curves are known in closed form."""

import keras
import numpy as np

SHAPE, CLASSES, BIAS = (3, 4, 2), 3, -0.5


def linear_model(kernel, data_format="channels_last"):
    """The outputs `images . kernel + BIAS`, for a kernel `(3, 4, 2, classes)`; channels first, of images transposed."""
    shape, order = SHAPE, (0, 1, 2, 3)
    if data_format == "channels_first":
        shape, order = (SHAPE[2], *SHAPE[:2]), (2, 0, 1, 3)
    inputs = keras.Input(shape)
    # What the format is, is known by the layers.
    outputs = keras.layers.Flatten(data_format="channels_last")(_identity(data_format)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(outputs))
    flat = np.transpose(kernel, order).reshape(-1, CLASSES)
    model.layers[-1].set_weights([flat.astype("float32"), np.full(CLASSES, BIAS, "float32")])
    return model


def _identity(data_format):
    return keras.layers.MaxPooling2D(1, data_format=data_format)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
