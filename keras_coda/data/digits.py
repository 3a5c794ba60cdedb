"""Scikit-learn's handwritten digits: real images without a download."""

import numpy as np

from keras_coda.imports import Lazy

datasets = Lazy("sklearn.datasets", "scikit-learn")
model_selection = Lazy("sklearn.model_selection", "scikit-learn")

CLASSES = [str(digit) for digit in range(10)]
HELD_OUT = 360
# The parameter a of Keys' cubic kernel (1981), as in PyTorch's and OpenCV's bicubic interpolation.
_SHARPNESS = -0.75


def load_digits(image_size: int = 16) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Load the 1,797 digits of scikit-learn's `load_digits`, enlarged, in a fixed stratified split.

    The images are the same on every backend: they equal those of PyTorch's bicubic interpolation.

    Args:
        image_size: integer, height and width in pixels. The originals are 8 x 8. They are enlarged by bicubic
            interpolation with a = -0.75 and repeated border pixels.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 images in [0, 1] of shape `(1437, size, size, 1)` and
        `(360, size, size, 1)`, and int64 labels.

    Example:

    >>> (x_train, y_train), (x_test, y_test) = keras_coda.data.load_digits()
    """
    digits = datasets.load_digits()
    matrix = _interpolation(digits.images.shape[1], image_size)
    images = np.einsum("ih,nhw,jw->nij", matrix, digits.images / 16.0, matrix)
    images = np.clip(images, 0.0, 1.0).astype("float32")[..., np.newaxis]
    x_train, x_test, y_train, y_test = model_selection.train_test_split(
        images, digits.target, test_size=HELD_OUT, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def _interpolation(size, new_size):
    """Cubic interpolation along one axis, as a matrix `(new_size, size)` (Keys, 1981).

    Kept by hand: `keras.ops.image.resize` differs between backends by up to 0.086 of a pixel's range, Pillow has
    a = -0.5, and scikit-image interpolates by splines.
    """
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
