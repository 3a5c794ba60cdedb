"""The settings that the scores of an evaluation depend on."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_coda.metrics.insertion_deletion import SIGMA
from keras_coda.metrics.results import CURVES, LOCALISATION

METRICS = (LOCALISATION, *CURVES)
"""The names of what `measure` can measure."""

_LEAST = {"grid_size": 2, "grids": 1, "removed": 1, "points": 2, "seed": 0, "piece": 1}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How attribution methods are measured. The defaults are the paper's (4.2).

    Attributes:
        metrics: some of "localisation", "removal_least_first", "removal_most_first", "insertion" and "deletion".
        grid_size: integer n, for grids of n x n images.
        grids: integer, the largest number of grids.
        confidence: number in [0, 1), the probability that an image in a grid must exceed.
        removed: integer, the largest number of images for the other metrics.
        fraction: number in (0, 1], the share of the pixels that pixel removal removes. (Insertion and deletion: all.)
        points: integer, the number of points of each curve.
        sigma: positive number, the standard deviation in pixels of the blur from which insertion starts.
        seed: integer of at least 0, for the random choice of grids.
        piece: integer, the number of items in a file of the evaluation.

    Raises:
        ValueError: an unknown metric, or none; a number is out of its range.

    Example:

    >>> protocol = keras_coda.metrics.Protocol(grids=2, removed=4)
    >>> keras_coda.metrics.measure(model, x_test, y_test, methods, "evaluation", protocol)
    """

    metrics: Sequence[str] = (LOCALISATION, "removal_least_first")
    grid_size: int = 3
    grids: int = 500
    confidence: float = 0.5
    removed: int = 1024
    fraction: float = 0.25
    points: int = 129
    sigma: float = SIGMA
    seed: int = 0
    piece: int = 16

    def __post_init__(self):
        unknown = [metric for metric in self.metrics if metric not in METRICS]
        if unknown or not self.metrics or isinstance(self.metrics, str):
            raise ValueError(f"`metrics` must be a list of {METRICS}. Received: {self.metrics!r}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not (isinstance(value, (int, np.integer)) and value >= least):
                raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {value!r}")
            # Settings are written as JSON, which has no NumPy numbers.
            object.__setattr__(self, name, int(value))
        for name in ("confidence", "fraction", "sigma"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (0 <= self.confidence < 1 and 0 < self.fraction <= 1 and self.sigma > 0):
            raise ValueError(
                f"`confidence` must be in [0, 1), `fraction` in (0, 1] and `sigma` positive. "
                f"Received: {self.confidence}, {self.fraction} and {self.sigma}"
            )
