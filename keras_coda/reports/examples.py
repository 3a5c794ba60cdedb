"""Maps of every method for a few images and a grid, which a report shows."""

import dataclasses

import numpy as np

from keras_coda.metrics.grids import assemble


@dataclasses.dataclass(frozen=True, repr=False)
class Examples:
    """Images with their maps.

    Attributes:
        images: `(N, H, W, C)`, or with channels first.
        titles: N names of their classes.
        maps: dict from methods to `(N, H, W)`.
        data_format: of the images.
        grid, size, grid_titles, grid_maps: the same for a grid of size x size images: `(H, W, C)`, an integer, names,
            and a dict from methods to `(size * size, H, W)`; `None`, where there is no grid.
    """

    images: np.ndarray
    titles: list
    maps: dict
    data_format: str
    grid: np.ndarray | None = None
    size: int | None = None
    grid_titles: list | None = None
    grid_maps: dict | None = None


def make(subject, methods, count=6, grid_size=None):
    """Examples of a `Subject`.

    Args:
        subject: the `Subject`.
        methods: dict from names to attributions of its model.
        count: integer, images: the most confident ones of their classes.
        grid_size: integer n, for a grid of the most confident images of n x n classes. Default: no grid.

    Returns:
        `Examples`.
    """
    best = subject.most_confident()
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
