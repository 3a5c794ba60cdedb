"""Rescalings of a dynamic weight vector: alpha in g(u) = alpha(|u|) u (paper, eq. 1 and 2)."""

from collections.abc import Callable

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor


def l2(norm: Tensor) -> Tensor:
    """Rescaling to unit norm, L2(u) = u / |u| (paper, eq. 2, left).

    Args:
        norm: tensor of any shape, the norms |u|, positive.

    Returns:
        alpha(|u|), of the same shape and dtype.

    Example:

    >>> keras_coda.layers.l2(np.array([0.5, 2.0]))
    [2.0, 0.5]
    """
    return 1.0 / norm


def sq(norm: Tensor) -> Tensor:
    """The squashing function, SQ(u) = u |u| / (1 + |u|^2) (paper, eq. 2, right).

    Args:
        norm: tensor of any shape, the norms |u|, positive.

    Returns:
        alpha(|u|), of the same shape and dtype.

    Example:

    >>> keras_coda.layers.sq(np.array([1.0, 2.0]))
    [0.5, 0.4]
    """
    return norm / (1.0 + ops.square(norm))


_BY_NAME = {"l2": l2, "sq": sq}


def get(identifier: str | dict | Callable) -> Callable:
    """The rescaling that an argument stands for: a name, a function of the norm, or the configuration of one."""
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if callable(identifier):
        return identifier
    if identifier not in _BY_NAME:
        raise ValueError(
            f"`rescaling` must be one of {sorted(_BY_NAME)} or a function of the norm. Received: {identifier!r}"
        )
    return _BY_NAME[identifier]


def serialize(rescaling: Callable) -> str | dict:
    """The name "l2" or "sq", or Keras' configuration of another function."""
    for name, known in _BY_NAME.items():
        if rescaling is known:
            return name
    return keras.saving.serialize_keras_object(rescaling)
