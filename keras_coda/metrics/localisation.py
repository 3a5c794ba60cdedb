"""The localisation metric: the share of a class' positive attribution that lies on the image of that class."""

import keras
import numpy as np


def localisation(maps, size):
    """The part of each class' positive attribution in a grid that is in the cell of that class (paper, eq. 11).

    1 is perfect and 1 / n^2 what attribution spread evenly gets. A map without positive attribution gets 0.

    Args:
        maps: array `(G, n n, n H, n W)`: for each grid, the maps of the classes of its cells, in their order.
        size: integer n.

    Returns:
        Scores `(G, n n)`, float64 in [0, 1].

    Raises:
        ValueError: maps of another shape, or with NaN or infinite values.

    Example:

    >>> scores = keras_coda.metrics.localisation(method.maps(grids.images, grids.targets), size=3)
    """
    maps = keras.ops.convert_to_numpy(maps)
    if maps.ndim != 4 or maps.shape[1] != size * size or maps.shape[2] % size or maps.shape[3] % size:
        raise ValueError(
            f"`maps` must be of shape (grids, {size * size}, {size} H, {size} W): one a cell of {size} x {size} grids. "
            f"Received: shape {maps.shape}"
        )
    check_finite(maps)
    grids, cells, height, width = maps.shape
    positive = np.maximum(maps, 0).reshape(grids, cells, size, height // size, size, width // size)
    of_cells = positive.sum(axis=(3, 5), dtype="float64").reshape(grids, cells, cells)
    total = of_cells.sum(axis=-1)
    own = np.diagonal(of_cells, axis1=1, axis2=2)
    return np.divide(own, total, out=np.zeros_like(total), where=total > 0)


def check_finite(maps):
    """Raises a ValueError for maps with NaN or infinite values."""
    if not np.isfinite(maps).all():
        raise ValueError("`maps` must be finite. Received: maps with NaN or infinite values.")
