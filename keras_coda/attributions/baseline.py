"""The baseline: the image that attributions are relative to."""

import numpy as np
from numpy.typing import ArrayLike


def broadcast(baseline: ArrayLike, source: np.ndarray) -> np.ndarray:
    """Broadcast a baseline to the shape of the sources.

    Args:
        baseline: a number, or an array that broadcasts to the shape of `source`: one for all images, or one an image.
        source: array `(N, H, W, C)` (or `(N, C, H, W)`).

    Returns:
        An array (a view) of the shape and dtype of `source`.

    Raises:
        ValueError: the baseline is of another shape, or not finite.
    """
    array = np.asarray(baseline, source.dtype)
    if not np.isfinite(array).all():
        raise ValueError("`baseline` must be finite. Received: NaN or infinite values.")
    try:
        return np.broadcast_to(array, source.shape)
    except ValueError:
        raise ValueError(
            "`baseline` must be a number, or an array that broadcasts to the (encoded) images' shape "
            f"{source.shape}. Received: shape {array.shape}"
        ) from None
