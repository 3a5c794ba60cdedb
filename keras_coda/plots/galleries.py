"""Maps of several methods for the same images, and for a grid of images (paper, Fig. 7 and 8)."""

from keras_coda.plots.methods import name_of
from keras_coda.plots.panels import attribution, framed, image, plot_panels, ranking

# RISE's values are probabilities, all of them positive.
PANELS = {"rise": ranking}
# Around an image, where it must show on dark and bright ones.
FRAME = "#ffd400"


def plot_methods(images, maps, titles, data_format="channels_last", size=128):
    """Images, and below each the maps of every method.

    Args:
        images: `(N, H, W, C)`.
        maps: dict from methods to `(N, H, W)` maps. Each map has a scale of its own.
        titles: N strings, above the images.
        data_format: of the images.
        size: width of a panel in pixels.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    cells = [[image(pixels, data_format) for pixels in images]]
    cells += [[PANELS.get(method, attribution)(one) for one in of_method] for method, of_method in maps.items()]
    rows = ["", *map(name_of, maps)]
    return plot_panels(cells, columns=titles, rows=rows, size=size, aspect=_aspect(maps))


def plot_grid(grid, size, maps, titles, data_format="channels_last", width=128):
    """A grid of images, and the maps of its classes, with a frame around the image of each.

    Args:
        grid: `(H, W, C)`, a grid of `size` x `size` images.
        size: integer, images in a row.
        maps: dict from methods to `(size * size, H, W)`: the maps for the class of each image, rows first.
        titles: names of these classes.
        data_format: of the grid.
        width: of a panel in pixels.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    cells = [[framed(image(grid, data_format), number, size, FRAME) for number in range(size * size)]]
    for method, of_method in maps.items():
        panel = PANELS.get(method, attribution)
        cells.append([framed(panel(one), number, size) for number, one in enumerate(of_method)])
    rows = ["", *map(name_of, maps)]
    return plot_panels(cells, columns=titles, rows=rows, size=width, aspect=_aspect(maps))


def _aspect(maps):
    height, width = next(iter(maps.values())).shape[-2:]
    return height / width
