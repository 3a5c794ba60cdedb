"""Scikit-learn's handwritten digits: real images that need no download."""

import numpy as np

from keras_coda.imports import imported

CLASSES = [str(digit) for digit in range(10)]
HELD_OUT = 360
# The a of Keys' cubic kernel (1981), as in PyTorch's and OpenCV's bicubic interpolation. Pillow's is -0.5.
_SHARPNESS = -0.75


def load_digits(image_size=16):
    """The 1,797 digits of scikit-learn's `load_digits`, enlarged, in a fixed stratified split.

    The images are the same on every backend. They are those that PyTorch's bicubic interpolation makes, computed in
    NumPy, since the backends' own differ by up to 0.086 of a pixel's range.

    Args:
        image_size: integer, height and width in pixels. The originals are 8 x 8; they are enlarged by bicubic
            interpolation with a = -0.75, which repeats the pixels of the border.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 images in [0, 1] of shape `(1437, size, size, 1)` and
        `(360, size, size, 1)`, and int64 labels.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = keras_coda.data.load_digits()
    """
    datasets = imported("sklearn.datasets", "scikit-learn", "The data set of digits")
    model_selection = imported("sklearn.model_selection", "scikit-learn", "The data set of digits")
    digits = datasets.load_digits()
    matrix = _interpolation(digits.images.shape[1], image_size)
    images = np.einsum("ih,nhw,jw->nij", matrix, digits.images / 16.0, matrix)
    images = np.clip(images, 0.0, 1.0).astype("float32")[..., np.newaxis]
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def _interpolation(size, new_size):
    """Cubic interpolation along one axis, as a matrix `(new_size, size)` (Keys, 1981)."""
    centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    matrix = np.zeros((new_size, size))
    for offset in range(-1, 3):
        pixels = np.floor(centres).astype(int) + offset
        distance = np.abs(centres - pixels)
        near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
        far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
        weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(matrix, (np.arange(new_size), np.clip(pixels, 0, size - 1)), weights)
    return matrix
