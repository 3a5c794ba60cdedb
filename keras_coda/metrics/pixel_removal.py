"""Pixel removal: how the probability of a class changes as pixels are removed in the order of their attribution."""

import keras
import numpy as np

from keras_coda.attributions.masked import MaskedScores
from keras_coda.metrics.localisation import check_finite
from keras_coda.metrics.selection import as_classifier, check_labels


def pixel_removal(
    model,
    images,
    targets,
    maps,
    most_important_first=False,
    fraction=0.25,
    points=129,
    batch_size=32,
    verbose=0,
):
    """The probability of the target as more and more pixels are removed (paper, 4.2).

    Removing a pixel sets all its channels to 0, those of the negative image included where the model encodes its
    images; with `Classifier(model, input="image")` it becomes black instead. Pixels of equal attribution go in reading
    order. Variants of the images are made batch by batch. To remove
    the least important pixels first is due to Srinivas & Fleuret (2019).

    Args:
        model: a Keras model that `keras_coda.attributions.Classifier` takes, or a `Classifier`, which also says what
            makes probabilities of the outputs, and whether channels of the encoded or of the plain image are set to 0.
        images: array of N images as the model takes them.
        targets: integers `(N,)`, the class of each.
        maps: array `(N, H, W)`, attributions for it.
        most_important_first: whether to start with the pixels of the highest attribution, not of the lowest.
        fraction: number in (0, 1], the part of the pixels that is removed at the last point.
        points: integer of at least 2, from no pixel removed on at equal steps, rounded down to whole pixels.
        batch_size: integer, variants evaluated at once.
        verbose: 1 shows a progress bar.

    Returns:
        Probabilities `(N, points)`, float32. Published is the default: 129 points up to 25 %.

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
    """Evaluates a model on images in which the first pixels of a ranking are replaced; compiled once.

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
        """The probabilities `(N, points)` as pixels of the sources become those of `replacement`.

        Where `inserted`, it is the other way round: pixels of `replacement` become those of the sources. The other
        arguments are those of `pixel_removal`.
        """
        if not 0 < fraction <= 1 or points < 2:
            raise ValueError(
                f"`fraction` must be in (0, 1], and `points` at least 2. Received: {fraction} and {points}"
            )
        targets = check_labels(targets, len(source), self.classifier.classes).astype("int32")
        height, width = (source.shape[axis] for axis in self.classifier.pixel_axes)
        ranks = _ranks(maps, (len(source), height, width), most_important_first)
        # A tenth of 30 pixels is 3 of them, also where the product is rounded below it.
        replaced = np.floor(np.linspace(0, fraction, points) * ranks[0].size + 1e-6)

        def masks(images, numbers):
            kept = ranks[images] >= replaced[numbers, np.newaxis, np.newaxis]
            return ~kept if inserted else kept

        scores = self._scores.scores(
            source, targets[:, np.newaxis], masks, points, self.batch_size, baseline=replacement, verbose=verbose
        )
        return scores[..., 0]


def _ranks(maps, shape, most_important_first):
    """The place of each pixel in the order of its map, from 0, `(N, H, W)`. Equal pixels stay in reading order."""
    maps = keras.ops.convert_to_numpy(maps)
    if maps.shape != shape:
        raise ValueError(f"`maps` must be one an image, of shape {shape}. Received: shape {maps.shape}")
    check_finite(maps)
    flat = maps.reshape(len(maps), -1).astype("float64")
    order = np.argsort(-flat if most_important_first else flat, axis=-1, kind="stable")
    ranks = np.empty(order.shape, "int32")
    np.put_along_axis(ranks, order, np.arange(flat.shape[-1], dtype="int32")[np.newaxis], axis=-1)
    return ranks.reshape(maps.shape)
