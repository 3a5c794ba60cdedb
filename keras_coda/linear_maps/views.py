"""Copies of layers that share their weights but differ in some attributes."""

from typing import Any

import keras


def view(layer: keras.Layer, **attributes: Any) -> keras.Layer:
    """A copy of a layer that shares its weights, with other values for some attributes.

    `layer` itself is not changed, so that other threads may use it at the same time.

    Args:
        layer: a built Keras layer.
        **attributes: the copy's own attributes, such as `activation`.

    Returns:
        A layer of the same class. It is for calls only: it belongs to no model, and cannot be saved.

    Example:

    >>> without = view(dense, activation=keras.activations.linear)
    """
    # Not `copy.copy`, for which Keras' layers save and load themselves.
    seen = object.__new__(type(layer))
    # Not `setattr`: Keras and PyTorch would write the new values into registers that both layers share.
    vars(seen).update(vars(layer), **attributes)
    return seen
