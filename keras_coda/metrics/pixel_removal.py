"""Pixel removal: the probability of a class as pixels are removed in the order of their attribution."""

from typing import Any

import keras
import numpy as np

from keras_coda.attributions.masked import MaskedScores
from keras_coda.metrics.localisation import check_finite
from keras_coda.metrics.selection import as_classifier, as_labels


def pixel_removal(
    model: Any,
    images: Any,
    targets: Any,
    maps: Any,
    most_important_first: bool = False,
    fraction: float = 0.25,
    points: int = 129,
    batch_size: int = 32,
    verbose: int = 0,
) -> np.ndarray:
    """The probability of the target as more and more pixels are removed (paper, 4.2).

    Removing a pixel sets all its channels to 0. If the model encodes its images, these include the channels of the
    negative image; with `Classifier(model, input="image")`, the pixel becomes black instead. Pixels of equal
    attribution are removed in reading order. Removing the least important pixels first was proposed by Srinivas &
    Fleuret (2019).

    Args:
        model: a Keras model that `keras_coda.attributions.Classifier` takes. Or a `Classifier`, which can choose the
            function from outputs to probabilities, and whether channels of the encoded or of the plain image are set
            to 0.
        images: array of N images as the model takes them.
        targets: integers `(N,)`, the class of each image.
        maps: array `(N, H, W)`, the attributions for these classes.
        most_important_first: whether to start with the highest attribution. Default: with the lowest.
        fraction: number in (0, 1], the share of the pixels that is removed at the last point.
        points: integer of at least 2, the number of points at equal steps. At the first, no pixel is removed. Numbers
            of pixels are rounded down.
        batch_size: integer, variants evaluated at once.
        verbose: 1 shows a progress bar.

    Returns:
        Probabilities, float32 `(N, points)`. The defaults are as published: 129 points, up to 25 % of the pixels.

    Raises:
        ValueError: arrays of another shape, targets out of range, or NaN.

    Example:

    >>> maps = keras_coda.attributions.Contributions(model).maps(images, labels)
    >>> keras_coda.metrics.pixel_removal(model, images, labels, maps).mean(axis=0)
    """
    ranked = RankedPixels(model, batch_size)
    source = ranked.classifier.source(images)
    return ranked.curves(source, targets, maps, most_important_first, fraction, points, verbose=verbose)


class RankedPixels:
    """Evaluates a model on images in which the first pixels of a ranking are replaced. Compiled once.

    Args:
        model: a Keras model or a `Classifier`.
        batch_size: integer, variants evaluated at once.
    """

    def __init__(self, model, batch_size):
        self.classifier = as_classifier(model)
        self.batch_size = batch_size
        self._scores = MaskedScores(self.classifier, self.classifier.activation)

    def curves(
        self,
        source,
        targets,
        maps,
        most_important_first,
        fraction,
        points,
        replacement=0.0,
        inserted=False,
        verbose=0,
    ):
        """The probabilities `(N, points)` as pixels of the sources are replaced by those of `replacement`.

        Args:
            source: array of N sources.
            targets, maps, most_important_first, fraction, points, verbose: as for `pixel_removal`.
            replacement: number, or array that broadcasts to `source`.
            inserted: whether pixels of `replacement` are replaced by those of the sources instead.
        """
        if not 0 < fraction <= 1 or points < 2:
            raise ValueError(
                f"`fraction` must be in (0, 1], and `points` at least 2. Received: {fraction} and {points}"
            )
        targets = as_labels(targets, len(source), self.classifier.classes).astype("int32")
        height, width = (source.shape[axis] for axis in self.classifier.pixel_axes)
        ranks = _ranks(maps, (len(source), height, width), most_important_first)
        # 0.1 * 30 may be a little less than 3. It still means 3 pixels.
        replaced = np.floor(np.linspace(0, fraction, points) * ranks[0].size + 1e-6)

        def masks(images, numbers):
            kept = ranks[images] >= replaced[numbers, np.newaxis, np.newaxis]
            return ~kept if inserted else kept

        scores = self._scores.scores(
            source, targets[:, np.newaxis], masks, points, self.batch_size, baseline=replacement, verbose=verbose
        )
        return scores[..., 0]


def _ranks(maps, shape, most_important_first):
    """The rank of each pixel in its map, from 0, `(N, H, W)`. Equal pixels are ranked in reading order."""
    maps = keras.ops.convert_to_numpy(maps)
    if maps.shape != shape:
        raise ValueError(f"`maps` must be of shape {shape}, a map for each image. Received: shape {maps.shape}")
    check_finite(maps)
    flat = maps.reshape(len(maps), -1).astype("float64")
    order = np.argsort(-flat if most_important_first else flat, axis=-1, kind="stable")
    ranks = np.empty(order.shape, "int32")
    np.put_along_axis(ranks, order, np.arange(flat.shape[-1], dtype="int32")[np.newaxis], axis=-1)
    return ranks.reshape(maps.shape)
