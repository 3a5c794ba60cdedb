"""Images as floats in [0, 1], and the check that they are."""

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor

# How far outside [0, 1] values may lie. A bicubic resize and mild noise stay within this; images in 0..255, in [-1, 1],
# or normalised by mean and deviation do not.
TOLERANCE = 0.25
_EXPECTED = "Images must be floats in [0, 1], or integers in 0..255, which are divided by 255."


def check_unit_range(images: Tensor, tolerance: float = TOLERANCE) -> None:
    """Raise an error for float images that are clearly outside [0, 1], and for integers outside 0..255.

    No copy is made. The values of uint8 images are not read, since all are valid.

    Args:
        images: NumPy array or tensor of any shape, whose values can be read.
        tolerance: how far outside [0, 1] floats may lie.

    Raises:
        ValueError: values are NaN, infinite, or outside by more than `tolerance`; or they are no numbers.
    """
    dtype = str(images.dtype) if isinstance(images, np.ndarray) else keras.backend.standardize_dtype(images.dtype)
    if dtype in ("uint8", "bool") or 0 in images.shape:
        return
    if isinstance(images, np.ndarray):
        if images.dtype.kind not in "iuf" and dtype != "bfloat16":
            raise ValueError(f"{_EXPECTED} Received: an array of {dtype}.")
        low, high = float(np.min(images)), float(np.max(images))
    else:
        # Both in one transfer, since each one waits for the device.
        low, high = map(float, ops.convert_to_numpy(ops.stack([ops.min(images), ops.max(images)])))
    least, most = (0, 255) if keras.backend.is_int_dtype(dtype) else (-tolerance, 1 + tolerance)
    if not (low >= least and high <= most):  # written so that NaN fails
        raise ValueError(f"{_EXPECTED} Received: {dtype} images with values from {low:g} to {high:g}.")


def to_unit_range(images: Tensor, check: bool = True) -> Tensor:
    """Images as floats in [0, 1]: integer images are divided by 255, float ones must be there already.

    Args:
        images: NumPy array or tensor of any shape.
        check: whether to check the values. Those of a graph that is being traced cannot be read.

    Returns:
        `images`, or a float32 array or tensor of the same shape where they were integers.

    Raises:
        ValueError: floats are NaN, infinite, or outside [0, 1] by more than 0.25; integers are outside 0..255.
    """
    if check and (isinstance(images, np.ndarray) or backend.is_concrete(images)):
        check_unit_range(images)
    if not keras.backend.is_int_dtype(images.dtype):
        return images
    return images.astype("float32") / 255.0 if isinstance(images, np.ndarray) else ops.cast(images, "float32") / 255.0
