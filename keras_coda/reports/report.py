"""The report of an evaluation: one HTML file that opens in any browser."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_coda.plots import charts, galleries
from keras_coda.plots.methods import display_name
from keras_coda.reports.evaluation import Evaluation
from keras_coda.reports.examples import Examples
from keras_coda.reports.page import Page
from keras_coda.reports.published_scores import Published

CURVES = {
    "removal_least_first": (
        "Pixel removal, least important first",
        "The mean probability of the class while the least important pixels are removed, which sets all their channels "
        "to zero. A curve that stays high longer is better: the method finds the pixels that the model does not need.",
    ),
    "removal_most_first": (
        "Pixel removal, most important first",
        "The same, beginning with the most important pixel. A curve that falls faster is better.",
    ),
    "insertion": (
        "Insertion",
        "The mean probability of the class while the pixels of a blurred image are restored, the most important first. "
        "A larger area below the curve is better.",
    ),
    "deletion": (
        "Deletion",
        "The mean probability of the class while all pixels are deleted, the most important first. A smaller area "
        "below the curve is better.",
    ),
}
OTHER_DEFINITION = (
    "* These scores have another definition and cannot be compared with the measured ones: the published post-hoc "
    "methods explain the image itself, not the encoded image; their masks have 4 x 4 and 8 x 8 pixels instead of 5 x 5 "
    "and 9 x 9; and Grad-CAM's maps are enlarged to the nearest pixel. The option --definition paper_code uses theirs."
)
# `Published.scores` are of networks of this temperature, whatever that of the evaluated one.
PUBLISHED = "published for T = 1000"
LOWER_IS_BETTER = ("removal_most_first", "deletion")
SIMILARITIES = {"ssim": "SSIM", "rank_correlation": "rank correlation", "hog": "correlation of HOG"}


def write(
    path: pathlib.Path,
    title: str,
    evaluation: Evaluation,
    examples: Examples | None,
    published: Published | None = None,
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        title: string.
        evaluation: the `Evaluation`.
        examples: the `Examples`, or `None`.
        published: `Published` scores to show beside the measured ones.
    """
    page = Page(title, "Attribution methods compared on the same model, by keras-coda evaluate.")
    page.heading("What was evaluated")
    page.facts(evaluation.facts)
    for metric in evaluation.metrics:
        if metric == "localisation":
            _add_localisation(page, evaluation, published)
        else:
            _add_curves(page, metric, evaluation, published)
    if evaluation.sanity is not None:
        _add_sanity(page, evaluation.sanity)
    if examples is not None:
        _add_examples(page, examples)
    if published is not None:
        page.heading("Published scores")
        page.paragraph(published.source)
        for metric in evaluation.metrics:
            if published.scores(metric):
                page.paragraph(f"Their protocol for {metric}: {published.protocol(metric)}.")
        if evaluation.mark:
            page.paragraph(OTHER_DEFINITION)
    page.write(path)


def summary_lines(summary: Any) -> Iterator[str]:
    """The table of `Results.summary` as lines of text: for each metric its methods, the best first.

    Args:
        summary: `pandas.DataFrame`, what `Results.summary` or `Evaluation.summary` gives.

    Returns:
        An iterator over strings.

    Example:

    >>> evaluation = keras_coda.reports.evaluate(subject, "evaluation", methods, grids=2, removed=4)
    >>> lines = [*keras_coda.reports.summary_lines(evaluation.summary)]
    """
    for metric, rows in summary.groupby("metric", sort=False):
        yield f"{metric}:"
        item = "a grid" if metric == "localisation" else "an image"
        for row in _sorted(metric, rows).itertuples():
            interval = f"[{row.low:.4f}, {row.high:.4f}]"
            yield f"  {row.method:24} {row.mean:7.4f}  {interval}  {_seconds(row.seconds):>9} {item}"


def _add_localisation(page, evaluation, published):
    page.heading("Localisation")
    page.paragraph(
        "On grids of images of different classes: the share of the positive attribution for a class that lies on the "
        f"image of this class. 1 is perfect; a uniform map scores {evaluation.chance:.3f}."
    )
    theirs = {} if published is None else published.scores("localisation")
    _add_table(page, "localisation", evaluation, {method: scores["mean"] for method, scores in theirs.items()})
    scores = evaluation.localisation()
    figure, ax = charts.chart(6.5, 0.7 + (0.42 if theirs else 0.3) * len(scores))
    charts.plot_boxes(ax, scores, theirs, evaluation.chance, evaluation.mark, PUBLISHED)
    beside = f" Gray: the quartiles and mean of the scores {PUBLISHED}{evaluation.mark}." if theirs else ""
    page.picture(
        figure,
        "Scores of all classes in all grids: quartiles and median, whiskers from the 5th to the 95th percentile, and "
        f"the mean as a dot.{beside}",
    )


def _add_curves(page, metric, evaluation, published):
    heading, meaning = CURVES[metric]
    page.heading(heading)
    page.paragraph(meaning)
    theirs = {} if published is None else published.scores(metric)
    _add_table(page, metric, evaluation, {method: np.mean(values) for method, values in theirs.items()})
    figure, ax = charts.chart(6.5, 3.8)
    inserted = metric == "insertion"
    curves = charts.of_published_curves(published, metric)
    charts.plot_curves(ax, evaluation.curves(metric), curves, mark=evaluation.mark, published_as=PUBLISHED)
    ax.set_xlabel("pixels inserted, %" if inserted else "pixels removed, %")
    beside = f" Dashed: {PUBLISHED}{evaluation.mark}." if theirs else ""
    page.picture(figure, f"Means over the images, with 95 % intervals shaded.{beside}")


def _add_table(page, metric, evaluation, published):
    rows = _sorted(metric, evaluation.summary[evaluation.summary["metric"] == metric])
    grids = metric == "localisation"
    columns = [
        "method",
        "mean" if grids else "mean of the curve",
        "95 % interval",
        "grids" if grids else "images",
        f"time {'a grid' if grids else 'an image'}",
    ]
    cells = [
        [display_name(r.method), f"{r.mean:.4f}", f"{r.low:.4f} to {r.high:.4f}", r.count, _seconds(r.seconds)]
        for r in rows.itertuples(index=False)
    ]
    if published:
        columns.append(PUBLISHED)
        for row, method in zip(cells, rows["method"], strict=True):
            mark = "" if method == "contributions" else evaluation.mark
            row.append(f"{published[method]:.4f}{mark}" if method in published else "")
    page.table(columns, cells, best=0)


def _sorted(metric, rows):
    return rows.sort_values("mean", ascending=metric in LOWER_IS_BETTER, kind="stable")


def _seconds(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _add_sanity(page, sanity):
    page.heading("Sanity check")
    page.paragraph(
        "How similar the maps stay while the network's layers are randomised from the last to the first: cumulatively "
        "(cascading), or one at a time (independent). Maps that stay the same do not depend on what the network has "
        "learned (Adebayo et al., 2018)."
    )
    page.picture(plot_sanity(sanity), "Similarity to the maps of the trained network, means over the images.")


def plot_sanity(sanity: Any) -> Any:
    """Plot the similarity of maps by randomised layer: a row for each mode, a panel for each measure.

    Args:
        sanity: table with the columns mode, method, step, layer, image, ssim, rank_correlation and hog.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    modes = sanity["mode"].unique()
    figure, axes = charts.chart(9.5, 3.0 * len(modes), columns=len(SIMILARITIES), rows=len(modes))
    axes = axes.reshape(len(modes), -1)
    for mode, row in zip(modes, axes, strict=True):
        of_mode = sanity[sanity["mode"] == mode]
        for ax, (measure, name) in zip(row, SIMILARITIES.items(), strict=True):
            curves = {}
            for method, rows in of_mode.groupby("method", sort=False):
                # Layers of nested models can have equal names.
                curves[method] = rows.groupby(["step", "layer"], sort=False)[measure].mean().droplevel("step")
            charts.plot_by_layer(ax, curves, f"{name}, {mode}")
    axes[0, -1].legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _add_examples(page, examples):
    page.heading("Example maps")
    page.picture(
        galleries.plot_methods(examples.images, examples.maps, examples.titles, examples.data_format),
        "For some classes the image on which the model is most confident, and the map of each method: red for, blue "
        "against the class. Each map has its own scale."
        + " RISE has only positive values, from the least in blue to the largest in red."
        * ("rise" in examples.maps),
    )
    if examples.grid is not None:
        page.picture(
            galleries.plot_grid(
                examples.grid, examples.size, examples.grid_maps, examples.grid_titles, examples.data_format
            ),
            "A grid, and the maps for the class of each of its images. This image has a frame.",
        )
