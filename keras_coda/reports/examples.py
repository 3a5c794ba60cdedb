"""Example maps for a report: those of every method for a few images and a grid."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from keras_coda.attributions import Attribution
from keras_coda.layers.unit_range import check_unit_range
from keras_coda.metrics.grids import assemble
from keras_coda.reports.subject import Subject


@dataclasses.dataclass(frozen=True, repr=False)
class Examples:
    """Images with their maps.

    Attributes:
        images: `(N, H, W, C)`, or `(N, C, H, W)` with "channels_first".
        titles: N names of their classes.
        maps: dict from methods to `(N, H, W)`.
        data_format: that of the images.
        grid: `(H, W, C)`, a grid of size x size images. This and the rest is `None` without a grid.
        size: integer, number of images in a row of the grid.
        grid_titles: size x size names of classes.
        grid_maps: dict from methods to `(size * size, H, W)`.
    """

    images: np.ndarray
    titles: list
    maps: dict
    data_format: str
    grid: np.ndarray | None = None
    size: int | None = None
    grid_titles: list | None = None
    grid_maps: dict | None = None


def make(
    subject: Subject, methods: Mapping[str, Attribution], count: int = 6, grid_size: int | None = None
) -> Examples | None:
    """Examples of the test images on which the model is most confident, one for each class.

    Args:
        subject: the `Subject`.
        methods: dict from names to attributions of its model.
        count: integer, number of images.
        grid_size: integer n, for a grid of n x n images. Default: no grid.

    Returns:
        `Examples`, or `None` if there are none: `count` is 0, no image is classified correctly, or images cannot be
        drawn, since they are neither gray nor of three colours, or are not in [0, 1].
    """
    best = subject.most_confident()
    if count < 1 or not len(best) or not _can_be_drawn(subject):
        return None
    images, labels = subject.images[best[:count]], subject.labels[best[:count]]
    maps = {name: method.maps(images, labels) for name, method in methods.items()}
    titles = [subject.classes[label] for label in labels]
    if grid_size is None:
        return Examples(images, titles, maps, subject.data_format)
    cells = best[: grid_size**2]
    grid = assemble(subject.images[cells][np.newaxis], subject.classifier.pixel_axes)
    targets = subject.labels[cells]
    grid_maps = {name: method.maps(grid, targets[np.newaxis])[0] for name, method in methods.items()}
    grid_titles = [subject.classes[target] for target in targets]
    return Examples(images, titles, maps, subject.data_format, grid[0], grid_size, grid_titles, grid_maps)


def _can_be_drawn(subject):
    try:
        check_unit_range(subject.images)
    except ValueError:
        return False
    return subject.images.shape[subject.classifier.channel_axis] in (1, 3)
