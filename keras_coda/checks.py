"""Checks of arguments, images and outputs that several packages share, each with its error."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_coda.backend.conventions import fits


def check_shape(model_name: str, expected: tuple, shape: tuple) -> None:
    """Raise a ValueError where images have another shape than a model's input, in which `None` is any size."""
    if not fits(expected, shape):
        raise ValueError(
            f"Model {model_name!r} takes inputs of shape {tuple(expected)}. Received: shape {tuple(shape)}"
        )


def check_images(model_name: str, images: np.ndarray, dtype: str | None) -> None:
    """Raise a ValueError where images are not finite, or a model's input of integers would round them to black."""
    if not np.isfinite(np.sum(images, dtype="float64")):
        raise ValueError("Images must be finite. Received: images with NaN or infinite values.")
    takes_integers = dtype is not None and keras.backend.is_int_dtype(dtype)
    if takes_integers and not np.array_equal(images, np.floor(images)):
        raise ValueError(f"Model {model_name!r} takes images of {dtype}. Received: {images.dtype} ones with fractions")


def check_outputs(model_name: str, outputs: np.ndarray) -> None:
    """Raise a ValueError where a model's outputs are not finite."""
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"The outputs of model {model_name!r} for these images are NaN or infinite. Expected: finite ones. "
            "CoDA-Nets give NaN for images outside of [0, 1]."
        )


def check_positive(**settings: Any) -> None:
    """Raise a ValueError for an argument that is not a positive integer."""
    for name, value in settings.items():
        if not (isinstance(value, (int, np.integer)) and value >= 1):
            raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}")


def pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """`value`, an integer or two, as two positive integers. Raises a ValueError, with `name`, for anything else."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2 or not all(isinstance(v, int) and v >= 1 for v in values):
        raise ValueError(f"`{name}` must be a positive integer or two of them. Received: {value!r}")
    return values
