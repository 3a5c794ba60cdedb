"""Conventions of Keras that layers share: data formats, dtypes, shapes, and how to tell that Keras exports."""

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

# A tensor of the active backend, or an array that Keras converts to one.
Tensor: TypeAlias = Any


def standardize_data_format(data_format: str | None) -> str:
    """A data format, where `None` is Keras' global setting. Raises a ValueError for an unknown one."""
    if data_format is None:
        return keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f'`data_format` must be "channels_last" or "channels_first". Received: {data_format!r}')
    return data_format


def channels_last(shape: Sequence[Any], data_format: str | None) -> tuple:
    """`(H, W, C)` of an image's shape in a data format."""
    return (*shape[1:], shape[0]) if data_format == "channels_first" else tuple(shape)


def in_format(shape: Sequence[Any], data_format: str | None) -> tuple:
    """An image's shape in a data format, from `(H, W, C)`."""
    return (shape[-1], *shape[:-1]) if data_format == "channels_first" else tuple(shape)


def fits(expected: Sequence[int | None], shape: Sequence[int | None]) -> bool:
    """Whether a shape is of the form `expected`, in which `None` is any size."""
    return len(expected) == len(shape) and all(e in (None, n) for e, n in zip(expected, shape, strict=True))


def probe(shape: Sequence[int | None]) -> list[int]:
    """The shape with 64, the size of a common image, in place of each `None`: to try a model or file with."""
    return [64 if size is None else size for size in shape]


def at_least_float32(dtype: str) -> str:
    """The dtype for computations that must not run in half precision: "float64" for itself, otherwise "float32"."""
    return "float64" if dtype == "float64" else "float32"


def float_dtype(dtype: Any) -> str:
    """The dtype of the vectors that a map of tensors of `dtype` takes: itself, and "float32" for integers."""
    dtype = keras.backend.standardize_dtype(dtype)
    return dtype if keras.backend.is_float_dtype(dtype) else "float32"


def move_axis(x: Tensor, source: int, destination: int) -> Tensor:
    """`keras.ops.moveaxis` with axes counted from the first. PyTorch writes no others to ONNX correctly."""
    rank = len(x.shape)
    return keras.ops.moveaxis(x, source % rank, destination % rank)


def keras_exports():
    """Whether `keras.Model.export` or an `ExportArchive` calls this code. Keras has no public way to find out."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("keras.src.export."):
            return True
        frame = frame.f_back
    return False
