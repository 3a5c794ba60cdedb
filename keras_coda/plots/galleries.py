"""Maps of several methods for the same images, and for a grid of images (paper, Fig. 7 and 8)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_coda.plots.methods import display_name
from keras_coda.plots.panels import attribution, framed, image, plot_panels, ranking
from keras_coda.plots.style import shortened

# Panels of methods whose maps have no meaningful zero: RISE's values are probabilities.
PANELS = {"rise": ranking}
# Colour of the frame around an image, visible on dark and on bright images.
FRAME = "#ffd400"
# Width of a panel, in pixels.
WIDTH = 128


def plot_methods(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str],
    data_format: str = "channels_last",
) -> Any:
    """Plot images, and below each the maps of every method.

    Args:
        images: `(N, H, W, C)`.
        maps: dict from methods to `(N, H, W)` maps. Each map has its own scale.
        titles: N strings, above the images.
        data_format: that of the images.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    cells = [[image(pixels, data_format) for pixels in images]]
    cells += [[PANELS.get(method, attribution)(one) for one in of_method] for method, of_method in maps.items()]
    return _plot(cells, titles, maps, WIDTH)


def plot_grid(
    grid: np.ndarray,
    size: int,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str],
    data_format: str = "channels_last",
    width: int = WIDTH,
) -> Any:
    """Plot a grid of images and the maps for the class of each image. A frame marks this image.

    Args:
        grid: `(H, W, C)`, a grid of `size` x `size` images.
        size: integer, number of images in a row.
        maps: dict from methods to `(size * size, H, W)`: the maps for the class of each image, row by row.
        titles: names of these classes.
        data_format: that of the grid.
        width: width of a panel in pixels.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    cells = [[framed(image(grid, data_format), number, size, FRAME) for number in range(size * size)]]
    for method, of_method in maps.items():
        panel = PANELS.get(method, attribution)
        cells.append([framed(panel(one), number, size) for number, one in enumerate(of_method)])
    return _plot(cells, titles, maps, width)


def _plot(cells, titles, maps, width):
    columns = [shortened(title, width) for title in titles]
    height_of_map, width_of_map = next(iter(maps.values())).shape[-2:]
    rows = ["", *map(display_name, maps)]
    return plot_panels(cells, columns=columns, rows=rows, size=width, aspect=height_of_map / width_of_map)
