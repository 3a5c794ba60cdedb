"""Charts of measured scores, with published ones beside them (paper, Fig. 6)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_coda.imports import Lazy
from keras_coda.plots.methods import COLOURS, display_name
from keras_coda.plots.style import DPI, GRAY, INK

matplotlib_figure = Lazy("matplotlib.figure", "matplotlib")
colours = Lazy("matplotlib.colors", "matplotlib")

# Colours of methods that `plots.methods` does not know, in turn.
OTHER = ("#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")


def published_curve(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The `(x, y)` of a published removal curve; x is in percent of the pixels."""
    return np.linspace(0, 25, len(values)), np.asarray(values)


def chart(width: float = 5.0, height: float = 3.2, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure and its empty axes: one, or an array of them."""
    figure = matplotlib_figure.Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    return figure, figure.subplots(rows, columns)


def plot_boxes(
    ax: Any,
    scores: Mapping[str, np.ndarray],
    published: Mapping[str, Mapping[str, float]] | None = None,
    chance: float | None = None,
    mark: str = "",
    published_as: str = "published",
) -> None:
    """Draw a box for each array of scores in [0, 1]: quartiles and median, 5th and 95th percentile, mean as a dot.

    Args:
        ax: Matplotlib axes.
        scores: dict from methods (or other labels) to arrays of scores, drawn from top to bottom.
        published: dict from the same labels to {"mean", "median", "q25", "q75"}, drawn in gray below each.
        chance: score of a uniform map, drawn as a line.
        mark: text after `published_as`, see `Evaluation.mark`.
        published_as: name of the published scores in the legend.
    """
    published = {key: value for key, value in (published or {}).items() if key in scores}
    offset = 0.19 if published else 0
    for row, (label, values) in enumerate(scores.items()):
        five = np.percentile(values, [5, 25, 50, 75, 95])
        _box(ax, five, np.mean(values), row - offset, _colour(label, row), 0.34 if published else 0.5)
        if label in published:
            mean, low, median, high = (published[label][key] for key in ("mean", "q25", "median", "q75"))
            _box(ax, (low, low, median, high, high), mean, row + offset, GRAY, 0.24)
    if chance is not None:
        ax.axvline(chance, color=GRAY, linewidth=0.8, linestyle=":", zorder=0)
        ax.annotate("uniform map", (chance, 1), (2, 1), xycoords=("data", "axes fraction"), textcoords="offset points",
                    fontsize=6, color=GRAY)  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -0.5), xlabel="localisation")
    ax.set_yticks(range(len(scores)), [display_name(label) for label in scores], parse_math=False)
    if published:
        ax.plot([], [], color=GRAY, linewidth=4, alpha=0.5, label=_published(mark, published_as))
        ax.legend(fontsize=6, frameon=False, loc="lower right")
    _finish(ax)


def plot_curves(
    ax: Any,
    curves: Mapping[str, Any],
    published: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    mark: str = "",
    published_as: str = "published",
) -> None:
    """Draw curves with shaded 95 % intervals, and published curves dashed in the same colours.

    Args:
        ax: Matplotlib axes.
        curves: dict from methods (or other labels) to tables with the columns x (share of the pixels), mean, low and
            high.
        published: dict from the same labels to `(x, y)`, x in percent.
        mark, published_as: see `plot_boxes`.
    """
    published = {key: value for key, value in (published or {}).items() if key in curves}
    ends = {label: curve["mean"].iloc[-1] for label, curve in curves.items()}
    for row, (label, curve) in enumerate(sorted(curves.items(), key=lambda item: -ends[item[0]])):
        colour = _colour(label, row)
        own = label == "contributions"
        x = 100 * curve["x"]
        style = {"color": colour, "zorder": 3 if own else 2}
        ax.fill_between(x, curve["low"], curve["high"], alpha=0.15, linewidth=0, **style)
        ax.plot(x, curve["mean"], linewidth=2 if own else 1.2, label=display_name(label), **style)
        if label in published:
            ax.plot(*published[label], linewidth=1, linestyle="--", **style)
    ax.set(xlabel="pixels removed, %", ylabel="mean probability of the class", ylim=(0, 1.02))
    ax.set_xlim(0, max(100 * curve["x"].max() for curve in curves.values()))
    if published:
        ax.plot([], [], color=GRAY, linewidth=1, linestyle="--", label=_published(mark, published_as))
    ax.legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _finish(ax)


def plot_by_layer(ax: Any, curves: Mapping[str, Any], ylabel: str) -> None:
    """Draw curves over the layers of a network.

    Args:
        ax: Matplotlib axes.
        curves: dict from methods to pandas Series, with the layers' names as index.
        ylabel: label of the y axis.
    """
    for row, (label, curve) in enumerate(curves.items()):
        own = label == "contributions"
        style = {"color": _colour(label, row), "linewidth": 2 if own else 1.2, "zorder": 3 if own else 2}
        ax.plot(range(len(curve)), curve.to_numpy(), marker="o", markersize=2.5, label=display_name(label), **style)
    layers = next(iter(curves.values())).index
    lowest = min(curve.min() for curve in curves.values())
    ax.set(ylim=(min(-0.35, lowest - 0.05), 1.05), ylabel=ylabel)
    ax.set_xticks(range(len(layers)), layers, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    ax.axhline(0, color=GRAY, linewidth=0.5)
    _finish(ax)


def of_published_curves(published: Any, metric: str = "removal_least_first") -> dict[str, tuple]:
    """The curves of `Published` scores (or `None`) by method, in the form that `plot_curves` takes."""
    if published is None:
        return {}
    return {method: published_curve(values) for method, values in published.scores(metric).items()}


def _box(ax, five, mean, position, colour, height):
    """A box by its whiskers, quartiles and median (five numbers in rising order) and its mean."""
    stats = dict(zip(("whislo", "q1", "med", "q3", "whishi"), five, strict=True), mean=mean)
    ax.bxp(
        [stats],
        [position],
        height,
        orientation="horizontal",
        patch_artist=True,
        showmeans=True,
        showfliers=False,
        showcaps=False,
        manage_ticks=False,
        boxprops={"facecolor": colours.to_rgba(colour, 0.45), "edgecolor": colour, "linewidth": 0.8},
        whiskerprops={"color": colour, "linewidth": 1},
        medianprops={"color": colour, "linewidth": 1.5},
        meanprops={"marker": "o", "markersize": 2.5, "markerfacecolor": "white", "markeredgecolor": colour},
    )


def _colour(label, row):
    return COLOURS.get(label, OTHER[row % len(OTHER)])


def _published(mark, name):
    return f"{name}{mark}, post-hoc of another definition" if mark else name


def _finish(ax):
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set(edgecolor=GRAY, linewidth=0.5)
    ax.tick_params(labelsize=7, length=2, width=0.5, color=GRAY, labelcolor=INK)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(fontsize=7, color=INK)
    ax.grid(axis="x", linewidth=0.3, color=GRAY, alpha=0.4)
    ax.set_axisbelow(True)
