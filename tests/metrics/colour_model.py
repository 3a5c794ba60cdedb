"""A classifier of which all is known: the class is the brightest channel."""

import keras
import numpy as np

CLASSES = 4


def colour_model(image_shape=(None, None, CLASSES), data_format="channels_last", scale=1.0, classes=CLASSES):
    """The logits `(N, classes)` are the channels' means times `scale`."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(image_shape),
            layers.GlobalAveragePooling2D(data_format=data_format),
            layers.Dense(classes, use_bias=False, name="logits"),
        ]
    )
    model.set_weights([scale * np.eye(classes, dtype="float32")])
    return model


def colour_images(classes, values, shape=(2, 3)):
    """Images `(N, *shape, 4)` that are 0 but for the channel of their class."""
    images = np.zeros((len(classes), *shape, CLASSES), "float32")
    for image, channel, value in zip(images, classes, values, strict=True):
        image[..., channel] = value
    return images
