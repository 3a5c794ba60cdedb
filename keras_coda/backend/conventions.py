"""Conventions of Keras that layers share: data format and dtype, and whether it exports."""

import sys

import keras


def standardize_data_format(data_format):
    """The data format; `None` stands for Keras' global setting."""
    if data_format is None:
        return keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f'`data_format` must be "channels_last" or "channels_first". Received: {data_format!r}')
    return data_format


def at_least_float32(dtype):
    """The dtype for steps that must not run in half precision."""
    return "float64" if dtype == "float64" else "float32"


def keras_exports():
    """Whether this code is called by `keras.Model.export` or an `ExportArchive`, which tell their layers nothing."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("keras.src.export."):
            return True
        frame = frame.f_back
    return False
