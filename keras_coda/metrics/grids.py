"""Grids of images of distinct classes, on which localisation is measured (paper, 4.2 and Fig. 7)."""

import dataclasses
import warnings
from typing import Any

import keras
import numpy as np

from keras_coda.metrics.selection import as_classifier, as_labels, most_confident


@dataclasses.dataclass(frozen=True, repr=False)
class Grids:
    """G images, each of which is a grid of n x n images of distinct classes. Cells are numbered row by row.

    Attributes:
        images: `(G, n H, n W, C)` (or `(G, C, n H, n W)`), in the dtype of the single images.
        targets: `(G, n n)` integers, the class of each cell.
        indices: `(G, n n)` integers, the index of the image in each cell.
        size: integer n.

    Example:

    >>> grids = keras_coda.metrics.make_grids(model, x_test, y_test, count=20)
    >>> grids.images.shape
    (20, 48, 48, 1)
    """

    images: np.ndarray
    targets: np.ndarray
    indices: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self):
        return f"Grids({len(self)} of {self.size} x {self.size} images, images: {self.images.shape})"


def make_grids(
    model: Any,
    images: Any,
    labels: Any,
    size: int = 3,
    count: int = 500,
    confidence: float = 0.5,
    seed: int = 0,
    batch_size: int = 32,
) -> Grids:
    """Make grids of the images that a model is most confident of (paper, 4.2). A grid has each class at most once.

    Candidates are the images that the model classifies correctly, with a probability above `confidence`. The most
    confident ones are taken, each for one grid, and at most `count` of a class. Which images share a grid, and in which
    cells, is random. If there are too few candidates for `count` grids, as many grids as possible are made.

    Args:
        model: a Keras model of images of any size, or a `Classifier`.
        images: array of N images `(N, H, W, C)` (or `(N, C, H, W)`).
        labels: integers `(N,)` or `(N, 1)`.
        size: integer n.
        count: integer G, the most grids to make.
        confidence: number in [0, 1).
        seed: integer.
        batch_size: integer.

    Returns:
        `Grids`. A warning is raised if there are fewer than `count`.

    Raises:
        ValueError: a grid has more cells than there are classes; the model does not take images of a grid's size; no
            grid can be made; images or labels are not of this form.

    Example:

    >>> grids = keras_coda.metrics.make_grids(model, x_test, y_test, size=3, count=20)
    >>> maps = keras_coda.attributions.Contributions(model).maps(grids.images, grids.targets)
    >>> keras_coda.metrics.localisation(maps, size=3).mean()
    """
    images = keras.ops.convert_to_numpy(images)
    classifier = as_classifier(model)
    labels = as_labels(labels, len(images), classifier.classes)
    indices = draw_grids(classifier, images, labels, size, count, confidence, seed, batch_size)
    return Grids(assemble(images[indices], classifier.pixel_axes), labels[indices], indices, size)


def draw_grids(classifier, images, labels, size, count, confidence, seed, batch_size):
    """The indices of the images of each grid, `(G, n n)`. For arguments and errors see `make_grids`."""
    if size < 2 or count < 1:
        raise ValueError(f"Expected `size` of at least 2 and `count` of at least 1. Received: {size} and {count}")
    cells = size * size
    if cells > classifier.classes:
        raise ValueError(
            f"A grid has each class at most once, and {size} x {size} grids have {cells} cells. "
            f"Expected: as many classes. Received: a model of {classifier.classes} classes"
        )
    _check_takes_grids(classifier, images.shape, size)
    candidates = most_confident(classifier, images, labels, confidence, batch_size)
    of_class = np.bincount(labels[candidates], minlength=classifier.classes)
    # G grids need n n G images, with at most G of each class.
    possible = [g for g in range(1, count + 1) if np.minimum(of_class, g).sum() >= cells * g]
    if not possible:
        raise ValueError(
            f"No grid of {size} x {size} images of distinct classes can be made. Received: {len(images)} images, of "
            f"which {len(candidates)}, of {np.count_nonzero(of_class)} classes, are classified correctly with a "
            f"probability above {confidence}. Take smaller grids, a lower confidence, or measure without localisation"
        )
    made = possible[-1]
    if made < count:
        warnings.warn(
            f"Only {made} of {count} grids can be made, since {len(candidates)} images are classified correctly with a "
            f"probability above {confidence}.",
            stacklevel=3,
        )
    order = np.zeros(len(candidates), int)
    for label in range(classifier.classes):
        order[labels[candidates] == label] = np.arange(of_class[label])
    chosen = candidates[order < made][: cells * made]
    rng = np.random.default_rng(seed)
    # Deal out the images class by class, to one grid after the other, so that no grid gets a class twice.
    place = np.lexsort([rng.random(len(chosen)), rng.permutation(classifier.classes)[labels[chosen]]])
    grids = chosen[place].reshape(cells, made).T
    return rng.permuted(rng.permutation(grids), axis=1)


def assemble(images, pixel_axes):
    """Join images `(G, n n, H, W, C)` to grids `(G, n H, n W, C)`; in the same way with channels first."""
    size = round(images.shape[1] ** 0.5)
    row_axis, column_axis = pixel_axes
    cells = images.reshape(len(images), size, size, *images.shape[2:])
    rows = [np.concatenate([cells[:, r, c] for c in range(size)], axis=column_axis) for r in range(size)]
    return np.concatenate(rows, axis=row_axis)


def _check_takes_grids(classifier, shape, size):
    expected = tuple(classifier.model.inputs[0].shape)
    grid = list(shape)
    for axis in classifier.pixel_axes:
        grid[axis] *= size
    if any(expected[axis] not in (None, grid[axis]) for axis in classifier.pixel_axes):
        raise ValueError(
            f"Model {classifier.model.name!r} takes images of shape {expected} only. Expected: a model that takes "
            f"{size} x {size} grids too, of shape {tuple(grid[1:])}; give its input a height and width of `None`. "
            f"Received: images of shape {tuple(shape[1:])}"
        )
