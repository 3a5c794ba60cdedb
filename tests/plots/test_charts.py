"""Charts and panels show the numbers that they are given."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_coda.plots import charts, galleries, panels, style

pytestmark = pytest.mark.one_backend


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_curves_and_published_ones(rng):
    x = np.linspace(0, 0.25, 5)
    curves = {}
    for name in ("gradient", "contributions"):
        mean = np.sort(rng.random(5))[::-1]
        curves[name] = pd.DataFrame({"x": x, "mean": mean, "low": mean - 0.1, "high": mean + 0.1})
    _, ax = charts.chart()
    charts.plot_curves(ax, curves, {"gradient": (100 * x, np.full(5, 0.5)), "rise": (100 * x, x)})
    drawn = lines(ax)
    for name, curve in curves.items():
        np.testing.assert_allclose(drawn[name].get_xdata(), 100 * x)
        np.testing.assert_allclose(drawn[name].get_ydata(), curve["mean"])
    # From the curve that ends highest to the one that ends lowest, as in the legend.
    by_end = sorted(curves.values(), key=lambda curve: -curve["mean"].iloc[-1])
    for band, curve in zip(ax.collections, by_end, strict=True):
        extents = band.get_paths()[0].get_extents()
        np.testing.assert_allclose((extents.y0, extents.y1), (curve["low"].min(), curve["high"].max()))
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == 1
    assert dashed[0].get_color() == drawn["gradient"].get_color()
    np.testing.assert_allclose(dashed[0].get_ydata(), 0.5)


def test_boxes_are_the_quartiles(rng):
    scores = {"contributions": rng.random(100), "mine": rng.random(100)}
    _, ax = charts.chart()
    charts.plot_boxes(ax, scores, {"mine": {"mean": 0.5, "median": 0.5, "q25": 0.25, "q75": 0.75}}, chance=0.1)
    spans = [(box.get_path().get_extents().x0, box.get_path().get_extents().x1) for box in ax.patches]
    expected = [np.percentile(values, [25, 75]) for values in scores.values()]
    np.testing.assert_allclose(spans, [*expected, (0.25, 0.75)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["contributions", "mine"]
    ends = np.concatenate([line.get_xdata() for line in ax.get_lines() if len(line.get_xdata()) == 2])
    for values in scores.values():
        for number in np.percentile(values, [5, 25, 50, 75, 95]):
            assert np.isclose(ends, number).any()
    marked = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(marked, [*(values.mean() for values in scores.values()), 0.5])


def test_a_grid_has_a_frame_around_each_image_in_turn(rng):
    maps = {"contributions": rng.standard_normal((4, 8, 12)), "rise": rng.random((4, 8, 12))}
    figure = galleries.plot_grid(rng.random((8, 12, 3)), 2, maps, list("abcd"))
    assert len(figure.axes) == 12
    corners = [ax.patches[-1].get_xy() for ax in figure.axes]
    assert corners == 3 * [(-0.5, -0.5), (5.5, -0.5), (-0.5, 3.5), (5.5, 3.5)]
    for number in range(4):
        for first, method in ((4, "contributions"), (8, "rise")):
            drawn = figure.axes[first + number].images[0]
            np.testing.assert_array_equal(drawn.get_array(), maps[method][number])
    signed, positive = figure.axes[4].images[0], figure.axes[8].images[0]
    assert signed.norm.vmin == -signed.norm.vmax
    assert (positive.norm.vmin, positive.norm.vmax) == (maps["rise"][0].min(), maps["rise"][0].max())


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_methods_are_rows_below_the_images(rng, data_format):
    images = rng.random((3, 6, 6, 3))
    given = images if data_format == "channels_last" else np.moveaxis(images, -1, 1)
    figure = galleries.plot_methods(given, {"gradient": rng.random((3, 6, 6))}, list("abc"), data_format)
    assert len(figure.axes) == 6
    for ax, image in zip(figure.axes, images, strict=False):
        np.testing.assert_allclose(ax.images[0].get_array(), image)
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["a", "b", "c", "", "gradient"]


@pytest.mark.parametrize("plot", ["methods", "grid"])
def test_long_names_of_classes_do_not_overlap(rng, plot):
    titles, maps = (
        ["golden retriever, a dog", "American pit bull terrier", "cat", "dog"],
        {"mine": rng.random((4, 8, 8))},
    )
    if plot == "methods":
        figure = galleries.plot_methods(rng.random((4, 8, 8, 3)), maps, titles)
    else:
        figure = galleries.plot_grid(rng.random((8, 8, 3)), 2, maps, titles)
    canvas = FigureCanvasAgg(figure)
    drawn = [text for text in figure.texts if text.get_text()[:3] in [title[:3] for title in titles]]
    spans = [text.get_window_extent(canvas.get_renderer()) for text in drawn]
    assert len(spans) == 4
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(spans))
    assert drawn[2].get_text() == "cat"


def test_negative_similarities_are_in_the_chart(rng):
    curves = {name: pd.Series(rng.uniform(-0.9, 1, 5), list("abcde")) for name in ("gradient", "contributions")}
    curves["gradient"].iloc[2] = -0.95
    _, ax = charts.chart()
    charts.plot_by_layer(ax, curves, "rank correlation")
    low, high = ax.get_ylim()
    for name, curve in curves.items():
        np.testing.assert_array_equal(lines(ax)[name].get_ydata(), curve)
        assert low < curve.min()
        assert curve.max() < high


def test_a_panel_may_be_missing_and_titles_have_one_or_two_lines():
    panel = panels.image(np.zeros((4, 4)))
    figure = panels.plot_panels([[panel, None], [panel, panel]], titles=[["a\nb", None], [None, "c"]])
    assert len(figure.axes) == 3
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["a", "", "c"]
    assert figure.dpi == style.DPI


def test_titles_are_no_formulas():
    panel = panels.image(np.zeros((4, 4)))
    figure = panels.plot_panels([[panel]], columns=["$a_$"], rows=["$b^$"], titles=[["$c_$\n$d$"]])
    FigureCanvasAgg(figure).draw()
    assert [text.get_text() for text in figure.texts] == ["$a_$", "$b^$"]
