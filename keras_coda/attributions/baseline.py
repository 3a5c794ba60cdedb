"""The baseline: the image that attributions are relative to."""

import numpy as np
from numpy.typing import ArrayLike

from keras_coda.attributions.classifier import Classifier
from keras_coda.layers.unit_range import TOLERANCE


def broadcast(baseline: ArrayLike, source: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Broadcast a baseline to the shape of the sources.

    Args:
        baseline: a number, or an array that broadcasts to the shape of `source`: one for all images, or one an image.
        source: array `(N, H, W, C)` (or `(N, C, H, W)`).
        classifier: the `Classifier` whose sources these are.

    Returns:
        An array (a view) of the shape and dtype of `source`.

    Raises:
        ValueError: the baseline is of another shape, or not finite; or it is outside of [0, 1], where sources are
            inside, since the model has an `InputEncoding`.
    """
    array = np.asarray(baseline, source.dtype)
    if not np.isfinite(array).all():
        raise ValueError("`baseline` must be finite. Received: NaN or infinite values.")
    if classifier.in_unit_range and np.any(abs(array - 0.5) > 0.5 + TOLERANCE):
        raise ValueError(
            "`baseline` must be in [0, 1], as images are once integers are divided by 255. "
            f"Received: values from {array.min():g} to {array.max():g}"
        )
    try:
        return np.broadcast_to(array, source.shape)
    except ValueError:
        raise ValueError(
            "`baseline` must be a number, or an array that broadcasts to the (encoded) images' shape "
            f"{source.shape}. Received: shape {array.shape}"
        ) from None
