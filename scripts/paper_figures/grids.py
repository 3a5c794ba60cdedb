"""Figure 7: a grid of images and the contribution map of each of its classes."""

from keras_coda import attributions, metrics
from keras_coda.plots.galleries import plot_grid


def draw(subject, size=2, seed=0):
    """The grid in the upper row and its maps in the lower, with a frame around the image of the class."""
    grids = metrics.make_grids(subject.model, subject.images, subject.labels, size=size, count=1, seed=seed)
    maps = attributions.Contributions(subject.model).maps(grids.images, grids.targets)
    titles = [subject.classes[target] for target in grids.targets[0]]
    return plot_grid(grids.images[0], size, {"contributions": maps[0]}, titles, subject.data_format, width=192)
