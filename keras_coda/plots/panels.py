"""Figures of images and maps in rows and columns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_coda.imports import Lazy
from keras_coda.plots.explanations import plot_contribution_map, plot_image, plot_weights
from keras_coda.plots.style import DPI, FOOT, GAP, GROUP_GAP, INK, MARGIN, TITLE, set_title

matplotlib_figure = Lazy("matplotlib.figure", "matplotlib")
shapes = Lazy("matplotlib.patches", "matplotlib")

# Width of a character in a row's title, in pixels.
CHARACTER = 10

# A function that draws a panel on Matplotlib axes.
Panel = Callable[[Any], Any]


def plot_panels(
    cells: Sequence[Sequence[Panel | None]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    titles: Sequence[Sequence[str | None]] | None = None,
    size: int = 128,
    aspect: float = 1.0,
    groups: Sequence[int] = (),
) -> Any:
    """Plot a figure of panels, in the style of the galleries of `plot_explanation_gallery`.

    Args:
        cells: list of rows. A row is a list of functions that draw a panel on Matplotlib axes, or `None` for no panel.
        columns: titles of the columns.
        rows: titles of the rows.
        titles: list of rows of titles of single panels: strings of one or two lines, or `None`.
        size: integer, width of a panel in pixels.
        aspect: number, height of a panel relative to its width.
        groups: indices of the columns before which the gap is wider.

    Returns:
        The `matplotlib.figure.Figure`, which is not one of pyplot's.
    """
    count = max(map(len, cells))
    height_of_panel = round(size * aspect)
    left = MARGIN + (CHARACTER * max(map(len, rows)) if len(rows) else 0)
    head = FOOT if len(columns) else 0
    between = GAP if titles is None else TITLE
    wide = GROUP_GAP - GAP
    width = left + count * (size + GAP) + len(groups) * wide + MARGIN
    height = MARGIN + head + len(cells) * (height_of_panel + between) + MARGIN
    figure = matplotlib_figure.Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for i, row in enumerate(cells):
        bottom = height - MARGIN - head - (i + 1) * (height_of_panel + between)
        if titles is None:
            bottom += GAP
        for j, draw in enumerate(row):
            if draw is None:
                continue
            x = left + j * (size + GAP) + wide * sum(group <= j for group in groups)
            ax = figure.add_axes((x / width, bottom / height, size / width, height_of_panel / height))
            draw(ax)
            title = titles[i][j] if titles is not None else None
            if title:
                line, _, next_line = title.partition("\n")
                set_title(ax, size, line, next_line, panel=size)
            if i == 0 and j < len(columns) and columns[j]:
                y = (height - MARGIN - head / 2) / height
                at = (x + size / 2) / width, y
                figure.text(*at, columns[j], fontsize=8, color=INK, ha="center", va="center", parse_math=False)
        if i < len(rows):
            at = (left - GAP) / width, (bottom + height_of_panel / 2) / height
            figure.text(*at, rows[i], fontsize=8, color=INK, ha="right", va="center", parse_math=False)
    return figure


def image(pixels: np.ndarray, data_format: str = "channels_last") -> Panel:
    """A panel with an image."""
    return lambda ax: plot_image(pixels, ax, data_format)


def attribution(attribution_map: np.ndarray, limit: float | None = None) -> Panel:
    """A panel with a map: red speaks for, blue against the class."""
    return lambda ax: plot_contribution_map(attribution_map, ax, limit)


def ranking(attribution_map: np.ndarray) -> Panel:
    """A panel with a map that has no meaningful zero: blue is its minimum, red its maximum."""

    def draw(ax):
        drawn = plot_contribution_map(attribution_map, ax)
        drawn.set_clim(attribution_map.min(), attribution_map.max())
        return drawn

    return draw


def weights(values: np.ndarray, contribution_map: np.ndarray, data_format: str = "channels_last") -> Panel:
    """A panel with weights in colour."""
    return lambda ax: plot_weights(values, ax, contribution_map, data_format)


def framed(draw: Panel, number: int, size: int, colour: str = INK) -> Panel:
    """A panel of a grid of `size` x `size` images, with a frame around image `number`, counted row by row."""
    row, column = divmod(number, size)

    def draw_and_frame(ax):
        drawn = draw(ax)
        height, width = (side / size for side in drawn.get_array().shape[:2])
        corner = (column * width - 0.5, row * height - 0.5)
        ax.add_patch(
            shapes.Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=1.2, clip_on=False)
        )
        return drawn

    return draw_and_frame
