"""Tiny classifiers of images `(N, 12, 10, 3)` with weights drawn in NumPy: the same ones on every backend."""

import keras
import numpy as np
from keras import layers
from small_models import small_coda_net

IMAGE_SHAPE, CLASSES = (12, 10, 3), 4


def images(count=2, seed=0):
    return np.random.default_rng(seed).random((count, *IMAGE_SHAPE), dtype="float32")


def draw_weights(model, scale=0.5, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(-scale, scale, weights.shape) for weights in model.get_weights()])
    return model


def cnn():
    """Convolutions and ReLUs."""
    stack = [
        keras.Input(IMAGE_SHAPE),
        layers.Conv2D(5, 3, padding="same", activation="relu", data_format="channels_last"),
        layers.MaxPooling2D(2, data_format="channels_last"),
        layers.Conv2D(6, 3, activation="relu", data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(CLASSES),
    ]
    return draw_weights(keras.Sequential(stack))


def linear(data_format="channels_last"):
    """One linear layer with a bias."""
    shape = IMAGE_SHAPE if data_format == "channels_last" else (IMAGE_SHAPE[-1], *IMAGE_SHAPE[:-1])
    return draw_weights(
        keras.Sequential([keras.Input(shape), layers.Flatten(data_format=data_format), layers.Dense(CLASSES)])
    )


def coda_net(image_shape=IMAGE_SHAPE, data_format="channels_last"):
    """A CoDA-Net, with an input encoding. Two layers, as compilation is most of the time of these tests."""
    layout = {"filters": [5, CLASSES], "kernel_sizes": [3, 1], "ranks": [3, 3], "strides": [2, 1]}
    return draw_weights(small_coda_net(image_shape=image_shape, data_format=data_format, **layout))
