"""Localisation and pixel removal within a time limit: measured part by part until time is up."""

import time

import numpy as np

from keras_coda import attributions, metrics
from keras_coda.metrics.pixel_removal import RankedPixels

GRIDS_AT_ONCE, IMAGES_AT_ONCE, VARIANTS_AT_ONCE = 20, 64, 512
SIZE = 3
# As published.
REMOVED, POINTS = 0.25, 129


def localisation(method, grids, until):
    """The localisation (eq. 11) of a method on grids.

    Args:
        method: an `Attribution`.
        grids: `keras_coda.metrics.Grids`.
        until: when to stop, by `time.monotonic()`.

    Returns:
        `(score, count)`: the mean over `count` grids, at least `GRIDS_AT_ONCE` or all.
    """
    scores: list[np.ndarray] = []
    for start in range(0, len(grids), GRIDS_AT_ONCE):
        if scores and time.monotonic() > until:
            break
        part = slice(start, start + GRIDS_AT_ONCE)
        maps = method.maps(grids.images[part], grids.targets[part])
        scores.extend(metrics.localisation(maps, grids.size))
    return float(np.mean(scores)), len(scores)


def removal(model, images, labels, until):
    """The probability of the label while the pixels with the smallest contributions are removed.

    Args:
        model: a `CoDANet`.
        images, labels: arrays.
        until: when to stop, by `time.monotonic()`.

    Returns:
        `(score, count)`: the mean over the curves of `count` images, at least `IMAGES_AT_ONCE` or all.
    """
    method = attributions.Contributions(model, batch_size=IMAGES_AT_ONCE)
    ranked = RankedPixels(model, VARIANTS_AT_ONCE)
    curves: list[np.ndarray] = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        if curves and time.monotonic() > until:
            break
        part = slice(start, start + IMAGES_AT_ONCE)
        maps = method.maps(images[part], labels[part])
        source = ranked.classifier.source(images[part])
        curves.extend(ranked.curves(source, labels[part], maps, False, REMOVED, POINTS))
    return float(np.mean(curves)), len(curves)
