"""The localisation metric: the share of a class's positive attribution that is in its own cell of a grid."""

from typing import Any

import keras
import numpy as np


def localisation(maps: Any, size: int) -> np.ndarray:
    """The share of each class's positive attribution that is in the cell of this class (paper, eq. 11).

    1 is perfect. Evenly spread attribution scores 1 / n^2, and a map without positive attribution 0.

    Args:
        maps: array `(G, n n, n H, n W)`: for each grid, a map for the class of each cell, in the order of the cells.
        size: integer n.

    Returns:
        Scores `(G, n n)`, float64 in [0, 1].

    Raises:
        ValueError: maps of another shape, or with NaN or infinite values.

    Example:

    >>> scores = keras_coda.metrics.localisation(method.maps(grids.images, grids.targets), size=3)
    """
    return np.diagonal(shares(maps, size), axis1=1, axis2=2).copy()


def shares(maps: Any, size: int) -> np.ndarray:
    """The share of each class's positive attribution that is in each cell: `(G, n n, n n)`, see `localisation`."""
    maps = keras.ops.convert_to_numpy(maps)
    if maps.ndim != 4 or maps.shape[1] != size * size or maps.shape[2] % size or maps.shape[3] % size:
        raise ValueError(
            f"`maps` must be of shape (grids, {size * size}, {size} H, {size} W), a map for each cell of a grid. "
            f"Received: shape {maps.shape}"
        )
    check_finite(maps)
    grids, cells, height, width = maps.shape
    positive = np.maximum(maps, 0).reshape(grids, cells, size, height // size, size, width // size)
    of_cells = positive.sum(axis=(3, 5), dtype="float64").reshape(grids, cells, cells)
    total = of_cells.sum(axis=-1, keepdims=True)
    return np.divide(of_cells, total, out=np.zeros_like(of_cells), where=total > 0)


def check_finite(maps: np.ndarray, what: str = "`maps`") -> None:
    """Raise a ValueError for maps with NaN or infinite values, which the error calls `what`."""
    if not np.isfinite(maps).all():
        raise ValueError(f"{what} must be finite. Received: maps with NaN or infinite values.")
