"""Scikit-learn's handwritten digits: real images that need no download."""

import keras
import numpy as np

from keras_coda.imports import imported

CLASSES = [str(digit) for digit in range(10)]
HELD_OUT = 360


def load_digits(image_size=16):
    """The 1,797 digits of scikit-learn's `load_digits`, enlarged, in a fixed stratified split.

    Args:
        image_size: integer, height and width in pixels. The originals are 8 x 8; they are enlarged by bicubic
            interpolation.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 images in [0, 1] of shape `(1437, size, size, 1)` and
        `(360, size, size, 1)`, and int64 labels.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = keras_coda.data.load_digits()
    """
    datasets = imported("sklearn.datasets", "scikit-learn", "The data set of digits")
    model_selection = imported("sklearn.model_selection", "scikit-learn", "The data set of digits")
    digits = datasets.load_digits()
    images = (digits.images / 16.0).astype("float32")[..., np.newaxis]
    enlarged = keras.ops.image.resize(
        images, (image_size, image_size), interpolation="bicubic", data_format="channels_last"
    )
    images = np.clip(keras.ops.convert_to_numpy(enlarged), 0.0, 1.0)
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)
