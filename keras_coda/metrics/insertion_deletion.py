"""Insertion and deletion: the probability of a class as pixels are added or removed, the most important first."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_coda.imports import Lazy
from keras_coda.metrics.pixel_removal import RankedPixels, pixel_removal

integrate = Lazy("scipy.integrate", "scipy")
ndimage = Lazy("scipy.ndimage", "scipy")

# The standard deviation in pixels of the blur from which insertion starts.
SIGMA = 5.0


def deletion(
    model: Any, images: Any, targets: Any, maps: Any, points: int = 129, batch_size: int = 32, verbose: int = 0
) -> np.ndarray:
    """The probability of the target as pixels are set to 0, the most important first (Petsiuk et al., 2018).

    Args:
        model, images, targets, maps, points, batch_size, verbose: see `pixel_removal`.

    Returns:
        Probabilities, float32 `(N, points)`, from no pixel to all pixels. Their `auc` is the score; lower is better.

    Raises:
        ValueError: see `pixel_removal`.

    Example:

    >>> keras_coda.metrics.auc(keras_coda.metrics.deletion(model, images, labels, maps)).mean()
    """
    return pixel_removal(model, images, targets, maps, True, 1.0, points, batch_size, verbose)


def insertion(
    model: Any,
    images: Any,
    targets: Any,
    maps: Any,
    points: int = 129,
    sigma: float = SIGMA,
    batch_size: int = 32,
    verbose: int = 0,
) -> np.ndarray:
    """The probability of the target as pixels are inserted into the blurred image, the most important first.

    Petsiuk et al. (2018). The blur is Gaussian.

    Args:
        model, images, targets, maps, points, batch_size, verbose: see `pixel_removal`.
        sigma: positive number, the standard deviation of the blur in pixels.

    Returns:
        Probabilities, float32 `(N, points)`, from the blurred image to the original. Their `auc` is the score; higher
        is better.

    Raises:
        ValueError: see `pixel_removal`.

    Example:

    >>> keras_coda.metrics.auc(keras_coda.metrics.insertion(model, images, labels, maps)).mean()
    """
    ranked = RankedPixels(model, batch_size)
    source = ranked.classifier.source(images)
    blurred = blur(source, sigma, ranked.classifier.pixel_axes)
    return ranked.curves(source, targets, maps, True, 1.0, points, replacement=blurred, inserted=True, verbose=verbose)


def auc(curves: ArrayLike) -> np.ndarray:
    """The area under curves by the trapezoidal rule, over an x axis of length 1.

    Args:
        curves: array `(..., points)`, of at least two equally spaced points.

    Returns:
        float64 `(...)`.

    Example:

    >>> keras_coda.metrics.auc([0.0, 0.5, 1.0])
    0.5
    """
    curves = np.asarray(curves, "float64")
    return integrate.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1)


def blur(source, sigma, pixel_axes):
    """Blur sources by a Gaussian. For encoded images, this equals the encoding of the blurred image."""
    if not sigma > 0:
        raise ValueError(f"`sigma` must be positive. Received: {sigma}")
    # In float32, since SciPy takes no float16 or bfloat16.
    return ndimage.gaussian_filter(source.astype("float32"), sigma, axes=pixel_axes)
