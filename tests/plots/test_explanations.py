"""Pictures of explanations, checked against hand-made cases, a reference pixel by pixel, and the drawn figure."""

import pathlib

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import colors, pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import keras_coda
from keras_coda import plots

NAMES = ["apple", "pear", "plum", "fig"]
LAST = "channels_last"


@pytest.fixture(autouse=True)
def _no_pyplot_figures_are_left():
    before = pyplot.get_fignums()
    yield
    after = pyplot.get_fignums()
    pyplot.close("all")
    assert after == before


@pytest.fixture(scope="module")
def colour_model():
    return keras_coda.CoDANet([4, 4], [3, 1], [4, 4], [1, 2], 2.0, image_shape=(8, 12, 3), data_format=LAST, seed=0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(3, 8, 12, 3)).astype("float32")


def encode(image):
    return np.concatenate([image, 1 - image], axis=-1)


def reference_rgba(weights, contribution_map):
    """The description in words, pixel by pixel, for one image."""
    rows, columns, channels = weights.shape
    half = channels // 2
    rgba = np.zeros((rows, columns, 4))
    norms = [[sum(max(w, 0) ** 2 for w in weights[i, j]) ** 0.5 for j in range(columns)] for i in range(rows)]
    strong = np.percentile(norms, 99.5)
    for i in range(rows):
        for j in range(columns):
            w = [max(v, 0) for v in weights[i, j]]
            for c in range(3):
                a, b = w[min(c, half - 1)], w[min(c, half - 1) + half]
                rgba[i, j, c] = a / (a + b) if a + b else 0
            if contribution_map[i, j] > 0:
                rgba[i, j, 3] = min(1, norms[i][j] / strong) if strong else float(norms[i][j] > 0)
    return rgba


# Weights in colour


@pytest.mark.parametrize(
    ("weights", "rgb"),
    [
        ([3, 0, 0, 0, 0, 0], [1, 0, 0]),
        ([3, 0, 0, 0, 3, 3], [1, 0, 0]),
        ([3, 0, 0, -1, -2, -2], [1, 0, 0]),
        ([0, 0, 0.5, 0.5, 0.5, 0], [0, 0, 1]),
        ([2, 2, 2, 0, 0, 0], [1, 1, 1]),
        ([0, 0, 0, 2, 2, 2], [0, 0, 0]),
        ([1, 3, 4, 3, 1, 4], [0.25, 0.75, 0.5]),
        ([1, 0], [1, 1, 1]),
        ([1, 3], [0.25, 0.25, 0.25]),
        ([-4, 3], [0, 0, 0]),
    ],
)
def test_colour_of_one_pixel(weights, rgb):
    rgba = plots.weights_to_rgba(np.array([[weights]], "float32"), data_format=LAST)
    np.testing.assert_allclose(rgba, [[[*rgb, 1]]], atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_aligned_with_an_image_have_its_colours(channels):
    image = np.random.default_rng(1).uniform(size=(5, 4, channels))
    strength = np.random.default_rng(2).uniform(0.1, 1, size=(5, 4, 1))
    rgba = plots.weights_to_rgba(strength * encode(image), data_format=LAST)
    np.testing.assert_allclose(rgba[..., :3], np.broadcast_to(image, (5, 4, 3)), atol=1e-12)
    norm = np.sqrt(np.sum((strength * encode(image)) ** 2, axis=-1))
    order = np.argsort(norm, axis=None)
    assert (np.diff(rgba[..., 3].ravel()[order]) >= 0).all()
    assert rgba[..., 3].max() == 1


@settings(max_examples=60)
@given(
    st.sampled_from([2, 6]).flatmap(
        lambda channels: arrays.arrays(
            "float64",
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=4).map(lambda shape: (*shape, channels)),
            elements=st.sampled_from([0.0, -1.0]) | st.integers(-999, 999).map(lambda v: v / 100),
        )
    ),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-200, 1e-6, 1.0, 3e5, 1e200]),
)
def test_rgba_equals_the_reference_at_any_scale(weights, seed, scale):
    contribution_map = np.random.default_rng(seed).integers(-1, 2, size=weights.shape[:2])
    expected = reference_rgba(weights, contribution_map)
    received = plots.weights_to_rgba(weights * scale, contribution_map, data_format=LAST)
    np.testing.assert_allclose(received, expected, atol=1e-9)


@settings(max_examples=60)
@given(
    st.sampled_from([1, 2, 3, 6]).flatmap(
        lambda channels: arrays.arrays(
            "float64", (2, 3, channels), elements={"allow_nan": False, "allow_infinity": False}
        )
    )
)
def test_rgba_is_in_the_unit_range_for_any_finite_weights(weights):
    with np.errstate(all="raise", under="ignore"):
        rgba = plots.weights_to_rgba(weights, data_format=LAST)
    assert rgba.shape == (2, 3, 4)
    assert ((rgba >= 0) & (rgba <= 1)).all()


def test_weights_of_zero_are_transparent():
    assert not plots.weights_to_rgba(np.zeros((3, 3, 6)), data_format=LAST).any()


def test_a_few_strong_pixels_are_opaque_where_the_percentile_is_zero():
    weights = np.zeros((20, 20, 6))
    weights[3, 4] = [1e-3, 0, 0, 0, 1e-3, 1e-3]
    rgba = plots.weights_to_rgba(weights, data_format=LAST)
    np.testing.assert_array_equal(rgba[3, 4], [1, 0, 0, 1])
    assert np.count_nonzero(rgba[..., 3]) == 1


def test_leading_axes_are_images_of_their_own():
    weights = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)) * np.array([1, 10, 100])[:, None, None, None]
    maps = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    rgba = plots.weights_to_rgba(weights, maps, data_format=LAST)
    for n in range(2):
        for k in range(3):
            np.testing.assert_allclose(rgba[n, k], reference_rgba(weights[n, k], maps[n, k]), atol=1e-12)


def test_channels_first_weights_have_the_same_colours():
    weights = np.random.default_rng(0).normal(size=(2, 6, 6, 6))
    expected = plots.weights_to_rgba(np.moveaxis(weights, 1, -1), data_format=LAST)
    np.testing.assert_array_equal(plots.weights_to_rgba(weights, data_format="channels_first"), expected)
    before = keras.config.image_data_format()
    try:
        keras.config.set_image_data_format("channels_first")
        np.testing.assert_array_equal(plots.weights_to_rgba(weights), expected)
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 3e5, 1e200])
@pytest.mark.parametrize("channels", [1, 3])
def test_weights_without_negative_image_are_around_mid_gray(channels, scale):
    weights = np.random.default_rng(0).normal(size=(2, 30, 20, channels))
    weights[0, 0, 0] = 0
    rgba = plots.weights_to_rgba(weights * scale, data_format=LAST)
    assert (rgba[..., 3] == 1).all()
    for n in range(2):
        limit = np.percentile(np.abs(weights[n]), 99.5)
        expected = [(min(max(w / limit, -1), 1) + 1) / 2 for w in weights[n].ravel()]
        expected = np.broadcast_to(np.reshape(expected, (30, 20, channels)), (30, 20, 3))
        np.testing.assert_allclose(rgba[n, ..., :3], expected, atol=1e-12)
    np.testing.assert_array_equal(rgba[0, 0, 0], [0.5, 0.5, 0.5, 1])
    contribution_map = np.sign(weights[..., 0])
    np.testing.assert_array_equal(plots.weights_to_rgba(weights * scale, contribution_map, LAST), rgba)


def test_one_weight_without_negative_image_is_seen():
    weights = np.zeros((20, 20, 3))
    weights[3, 4] = [1e-3, 0, -1e-3]
    rgba = plots.weights_to_rgba(weights, data_format=LAST)
    np.testing.assert_array_equal(rgba[3, 4], [1, 0.5, 0, 1])
    np.testing.assert_array_equal(rgba[0, 0], [0.5, 0.5, 0.5, 1])


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 12), (4, 6), (6,)])
def test_weights_of_another_shape_are_an_error(shape):
    message = r"6 channels, or 2 for gray .*Received: shape \(" + ", ".join(map(str, shape))
    with pytest.raises(ValueError, match=message):
        plots.weights_to_rgba(np.ones(shape), data_format=LAST)
    with pytest.raises(ValueError, match=message):
        plots.weights_to_rgba(np.ones((*shape[2:], *shape[:2])), data_format="channels_first")


def test_weights_that_do_not_fit_the_map_or_are_not_finite_are_errors():
    weights = np.ones((4, 5, 6))
    with pytest.raises(ValueError, match=r"must be of shape \(4, 5\). Received: shape \(5, 4\)"):
        plots.weights_to_rgba(weights, np.ones((5, 4)), data_format=LAST)
    with pytest.raises(ValueError, match="`contribution_map` must be finite"):
        plots.weights_to_rgba(weights, np.full((4, 5), np.inf), data_format=LAST)
    weights[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="`weights` must be finite"):
        plots.weights_to_rgba(weights, data_format=LAST)


def test_plot_weights_draws_on_white():
    weights = np.zeros((2, 2, 6))
    weights[0, 0] = [1, 0, 0, 0, 1, 1]
    figure = Figure(figsize=(1, 1), dpi=100, facecolor="black")
    drawn = plots.plot_weights(weights, figure.add_axes((0, 0, 1, 1)), data_format=LAST)
    assert drawn.axes.get_xticks().size == drawn.axes.get_yticks().size == 0
    pixels = pixels_of(figure)
    np.testing.assert_array_equal(pixels[25, 25], [255, 0, 0])
    np.testing.assert_array_equal(pixels[75, 75], [255, 255, 255])


# Contribution maps


def pixels_of(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_scale_is_symmetric_and_zero_is_its_middle(scale):
    contribution_map = np.array([[-3.0, 0.0], [1.0, 2.0]]) * scale
    drawn = plots.plot_contribution_map(contribution_map, Figure().add_subplot())
    expected = np.sort(np.abs(contribution_map).ravel())
    expected = expected[-1] - (expected[-1] - expected[-2]) * 0.005 * 3  # percentile 99.5 of four values
    assert drawn.norm.vmax == pytest.approx(expected)
    assert drawn.norm.vmin == -drawn.norm.vmax
    assert drawn.norm(0.0) == 0.5
    r, g, b = colors.to_rgb(drawn.to_rgba(0.0))
    assert min(r, g, b) > 0.95
    r, _, b = colors.to_rgb(drawn.to_rgba(scale))
    assert r > b + 0.1
    r, _, b = colors.to_rgb(drawn.to_rgba(-scale))
    assert b > r + 0.1


def test_outliers_do_not_set_the_scale_but_do_where_all_else_is_zero():
    contribution_map = np.full((40, 40), 0.5)
    contribution_map[0, 0] = -100
    assert plots.plot_contribution_map(contribution_map, Figure().add_subplot()).norm.vmax == 0.5
    contribution_map[contribution_map > 0] = 0
    assert plots.plot_contribution_map(contribution_map, Figure().add_subplot()).norm.vmax == 100
    assert plots.plot_contribution_map(np.zeros((2, 2)), Figure().add_subplot()).norm.vmax == 1


def test_maps_with_one_limit_have_one_scale():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 4))
    drawn = [plots.plot_contribution_map(m, Figure().add_subplot(), limit=0.7) for m in (a, 5 * b)]
    assert [d.get_clim() for d in drawn] == [(-0.7, 0.7)] * 2


@pytest.mark.one_backend
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_weights_with_one_limit_have_one_scale(channels):
    weights = np.random.default_rng(0).normal(size=(2, 30, 20, channels)) * np.array([1, 5])[:, None, None, None]
    encoded = channels in (2, 6)
    strengths = np.linalg.norm(np.maximum(weights, 0), axis=-1) if encoded else np.abs(weights)
    limits = [np.percentile(strength, 99.5) for strength in strengths]
    np.testing.assert_allclose(plots.weights_limit(weights, LAST), limits)
    for n in range(2):
        drawn = plots.plot_weights(weights[n], Figure().add_subplot(), data_format=LAST, limit=max(limits))
        rgba = np.asarray(drawn.get_array())
        if encoded:
            np.testing.assert_allclose(rgba[..., 3], np.minimum(strengths[n] / max(limits), 1))
        else:
            expected = np.clip(0.5 + 0.5 * weights[n] / max(limits), 0, 1)
            np.testing.assert_allclose(rgba[..., :3], np.broadcast_to(expected, (30, 20, 3)))


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf])
def test_a_limit_that_is_not_positive_is_an_error(limit):
    with pytest.raises(ValueError, match="`limit` must be a positive number. Received: .*" + str(limit)):
        plots.plot_contribution_map(np.ones((2, 2)), Figure().add_subplot(), limit)


def test_a_map_that_is_not_a_finite_matrix_is_an_error():
    with pytest.raises(ValueError, match=r"must be of shape \(H, W\). Received: shape \(1, 2, 2\)"):
        plots.plot_contribution_map(np.ones((1, 2, 2)), Figure().add_subplot())
    with pytest.raises(ValueError, match="must be finite"):
        plots.plot_contribution_map(np.full((2, 2), np.nan), Figure().add_subplot())


def test_without_axes_the_current_ones_are_drawn_on():
    _, ax = pyplot.subplots()
    assert plots.plot_contribution_map(np.eye(3)).axes is ax
    assert plots.plot_weights(np.ones((3, 3, 2)), data_format=LAST).axes is ax
    pyplot.close("all")


# Pairs of classes


def test_the_strongest_other_class():
    logits = np.array([[0.1, 3.0, 2.0, -1.0], [5.0, -2.0, 4.0, 4.5], [-9.0, -8.0, -7.0, -6.0]], "float32")
    np.testing.assert_array_equal(plots.target_and_strongest_other(logits), [[1, 2], [0, 3], [3, 2]])
    np.testing.assert_array_equal(plots.target_and_strongest_other(logits, [2, 0, 3]), [[2, 1], [0, 3], [3, 2]])
    assert np.issubdtype(plots.target_and_strongest_other(logits).dtype, np.integer)
    np.testing.assert_array_equal(plots.target_and_strongest_other(logits[:, :1]), [[0], [0], [0]])


@settings(max_examples=60)
@given(arrays.arrays("float32", (4, 3), elements=st.sampled_from([-np.inf, -2.0, 0.0, 1.0])), st.integers(0, 2))
def test_the_other_class_is_the_best_of_the_others_even_in_ties(logits, target):
    pairs = plots.target_and_strongest_other(logits, np.full(4, target))
    for row, (first, other) in zip(logits, pairs, strict=True):
        assert first == target != other
        assert row[other] == max(row[c] for c in range(3) if c != target)
    predicted = plots.target_and_strongest_other(logits)
    np.testing.assert_array_equal(predicted[:, 0], logits.argmax(1))
    assert (predicted[:, 0] != predicted[:, 1]).all()


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.ones(3), None, r"\(N, classes\), classes > 0. Received: shape \(3,\)"),
        (np.ones((3, 0)), None, r"Received: shape \(3, 0\)"),
        (np.ones((2, 3)), [0, 1, 2], r"`targets` must be 2 integers. Received: int64 of shape \(3,\)"),
        (np.ones((2, 3)), [0.0, 1.0], r"`targets` must be 2 integers. Received: float"),
        (np.ones((2, 3)), [0, 3], r"from 0 to 2. Received: 0..3"),
        (np.ones((2, 3)), [-1, 0], r"from 0 to 2. Received: -1..0"),
    ],
)
def test_logits_and_targets_that_do_not_fit_are_errors(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        plots.target_and_strongest_other(logits, targets)


# Galleries


def pictures(figure):
    """The axes of a figure that show images, as rows of a gallery."""
    rows = {}
    for ax in figure.axes:
        if ax.images:
            rows.setdefault(round(ax.get_position().y0, 4), []).append(ax)
    return [sorted(row, key=lambda ax: ax.get_position().x0) for _, row in sorted(rows.items(), reverse=True)]


def test_gallery_of_target_and_strongest_other(colour_model, images):
    pairs = plots.target_and_strongest_other(colour_model.predict(images, verbose=0))
    explanation = colour_model.explain(images, target=pairs)
    figure = plots.plot_explanation_gallery(images, explanation, NAMES, data_format=LAST)
    rows = pictures(figure)
    assert [len(row) for row in rows] == [5, 5, 5]
    for n, (image, *panels) in enumerate(rows):
        np.testing.assert_array_equal(image.images[0].get_array(), images[n])
        limits = set()
        for k, (weights, contributions) in enumerate([panels[:2], panels[2:]]):
            logit = explanation.logits[n, pairs[n, k]]
            title = f"{NAMES[pairs[n, k]]}\nlogit {logit:.1f}, p = {1 / (1 + np.exp(-logit)):.2f}"
            assert weights.get_title().replace("\N{MINUS SIGN}", "-") == title
            expected = plots.weights_to_rgba(explanation.weights[n, k], explanation.contribution_map[n, k], LAST)
            np.testing.assert_allclose(weights.images[0].get_array(), expected)
            np.testing.assert_allclose(contributions.images[0].get_array(), explanation.contribution_map[n, k])
            limits.add(contributions.images[0].get_clim())
        limit = np.percentile(np.abs(explanation.contribution_map[n]), 99.5)
        ((low, high),) = limits
        assert (low, high) == pytest.approx((-limit, limit))


@pytest.mark.one_backend
@pytest.mark.parametrize(("target", "count"), [(None, 1), (2, 1), ([[0], [1], [2]], 1), ("all", 4)])
def test_gallery_has_two_pictures_for_each_target(colour_model, images, target, count):
    explanation = colour_model.explain(images, target=target)
    figure = plots.plot_explanation_gallery(images, explanation, max_images=2, data_format=LAST)
    rows = pictures(figure)
    assert [len(row) for row in rows] == [1 + 2 * count] * 2
    titles = [ax.get_title().split("\n")[0] for ax in rows[1]]
    explained = np.reshape(explanation.targets, (3, -1))[1]
    assert titles == ["", *(title for c in explained for title in (f"class {c}", ""))]


@pytest.mark.one_backend
def test_gallery_with_limits_has_one_scale_for_all_rows(colour_model, images):
    explanation = colour_model.explain(images * [[[[0.1]]], [[[1]]], [[[1]]]])
    limits = {"limit": 0.7, "weight_limit": 0.03}
    figure = plots.plot_explanation_gallery(images, explanation, data_format=LAST, **limits)
    for n, (_, weights, contributions) in enumerate(pictures(figure)):
        assert contributions.images[0].get_clim() == (-0.7, 0.7)
        expected = plots.weights_to_rgba(explanation.weights[n], explanation.contribution_map[n], LAST, limit=0.03)
        np.testing.assert_allclose(weights.images[0].get_array(), expected)


@pytest.mark.one_backend
@pytest.mark.parametrize("explained", ["predicted", "label"])
def test_gallery_marks_wrong_predictions(colour_model, images, explained):
    predicted = colour_model.predict(images, verbose=0).argmax(1)
    labels = np.where([True, False, True], predicted, (predicted + 1) % 4)
    explanation = colour_model.explain(images, target=None if explained == "predicted" else labels)
    figure = plots.plot_explanation_gallery(images, explanation, NAMES, labels=labels, data_format=LAST)
    titles = [row[0].title for row in pictures(figure)]
    assert titles[0].get_text() == f"{NAMES[labels[0]]}\ncorrect"
    assert titles[1].get_text() == f"{NAMES[labels[1]]}\npredicted: {NAMES[predicted[1]]}"
    r, g, b = colors.to_rgb(titles[1].get_color())
    assert r > g + b
    assert titles[0].get_color() == titles[2].get_color() != titles[1].get_color()


@pytest.mark.one_backend
def test_titles_and_scales_fit_whatever_the_names(colour_model, images):
    explanation = colour_model.explain(images * [[[[1e-3]]], [[[1]]], [[[1]]]], target="all")
    names = ["W" * 300, "a golden\nretriever, or so they say, " * 9, "$x_1$ for 5$ $", "é" * 60]
    labels = (explanation.logits.argmax(1) + 1) % 4
    figure = plots.plot_explanation_gallery(images, explanation, names, labels=labels, data_format=LAST)
    pixels_of(figure)
    rows = pictures(figure)
    boxes = [ax.title.get_window_extent() for row in rows for ax in row if ax.get_title()]
    assert len(boxes) == 3 * 5
    boxes += [ax.get_window_extent() for row in rows for ax in row]
    boxes += [tick.get_window_extent() for ax in figure.axes if not ax.images for tick in ax.get_yticklabels()]
    boxes += [ax.xaxis.label.get_window_extent() for ax in rows[-1]]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            width = min(a.x1, b.x1) - max(a.x0, b.x0)
            height = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert width < 2 or height < 2, (a, b)
    assert "$x_1$ for 5$ $" in rows[0][5].get_title()
    assert rows[0][1].get_title().split("\n")[0].endswith("W…")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gallery_of_gray_images_in_any_form(data_format):
    model = keras_coda.CoDANet([4, 4], [3, 1], [4, 4], [1, 1], image_shape=(6, 6, 1), data_format=LAST, seed=0)
    integers = np.random.default_rng(0).integers(0, 256, size=(2, 6, 6, 1)).astype("uint8")
    explanation = model.explain(integers)
    if data_format == "channels_first":
        weights = np.moveaxis(explanation.weights, -1, 1)
        explanation = keras_coda.Explanation(**{**vars(explanation), "weights": weights})
        integers = np.moveaxis(integers, -1, 1)
    drawn = []
    for form in (integers, integers / np.float32(255), integers.reshape(2, 6, 6)):
        figure = plots.plot_explanation_gallery(form, explanation, data_format=data_format)
        assert pictures(figure)[1][0].images[0].get_clim() == (0, 1)
        drawn.append(pixels_of(figure))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    centre = drawn[0][16 + 64 + 128 + 20, 16 + 128 + 20].astype(int)  # in pixel (3, 3) of the first image
    assert abs(centre - integers.reshape(2, 6, 6)[0, 3, 3]).max() <= 1


@pytest.mark.one_backend
def test_gallery_of_a_model_without_negative_image(images):
    model = keras_coda.CoDANet(
        [4, 4], [3, 1], [4, 4], [1, 1], add_negative=False, image_shape=(8, 12, 3), data_format=LAST, seed=0
    )
    explanation = model.explain(images)
    rows = pictures(plots.plot_explanation_gallery(images, explanation, data_format=LAST))
    for n, row in enumerate(rows):
        expected = plots.weights_to_rgba(explanation.weights[n], data_format=LAST)
        np.testing.assert_array_equal(row[1].images[0].get_array(), expected)


def test_gallery_of_channels_first_colour_images(colour_model, images):
    explanation = colour_model.explain(images, target=[[0, 1]] * 3)
    first = keras_coda.Explanation(**{**vars(explanation), "weights": np.moveaxis(explanation.weights, -1, 2)})
    figures = [
        plots.plot_explanation_gallery(images, explanation, data_format=LAST),
        plots.plot_explanation_gallery(np.moveaxis(images, -1, 1), first, data_format="channels_first"),
    ]
    np.testing.assert_array_equal(*map(pixels_of, figures))


@pytest.mark.one_backend
def test_gallery_errors(colour_model, images):
    explanation = colour_model.explain(images)

    def gallery(images=images, explanation=explanation, **arguments):
        return plots.plot_explanation_gallery(images, explanation, data_format=LAST, **arguments)

    with pytest.raises(ValueError, match=r"explained by images of shape \(2, 8, 12, 3\). Received: .*\(3, 8, 12, 6\)"):
        gallery(images[:2])
    with pytest.raises(ValueError, match=r"explained by images of shape \(3, 12, 8, 3\)"):
        gallery(images.swapaxes(1, 2))
    with pytest.raises(ValueError, match=r"logits.*Received: .*logits: \(3, 8, 12, 4\)"):
        gallery(explanation=colour_model.explain(images, target=(1, 1, 0), layer="dau_1"))
    with pytest.raises(ValueError, match=r"`images` must be .* Received: shape \(3, 8, 12, 2\)"):
        gallery(images[..., :2])
    with pytest.raises(ValueError, match=r"N > 0. Received: shape \(0, 8, 12, 3\)"):
        gallery(images[:0], explanation[:0])
    with pytest.raises(ValueError, match=r"Images must be floats in \[0, 1\]"):
        gallery(images * 255)
    with pytest.raises(ValueError, match=r"`classes` must be 4 names. Received: 3 names"):
        gallery(classes=NAMES[:3])
    with pytest.raises(ValueError, match=r"`labels` must be 3 integers. Received: int64 of shape \(2,\)"):
        gallery(labels=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"`labels` must be classes from 0 to 3. Received: 1..4"):
        gallery(labels=np.array([1, 2, 4]))
    with pytest.raises(ValueError, match=r"`max_images` must be positive. Received: 0"):
        gallery(max_images=0)


# Files


def files_in(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.one_backend
def test_gallery_is_saved_as_png(colour_model, images, tmp_path):
    explanation = colour_model.explain(images)
    path = tmp_path / "new" / "folder" / "gallery.png"
    figure = plots.plot_explanation_gallery(images, explanation, path=path, data_format=LAST)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == tuple(int(s) for s in figure.bbox.size)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels_of(figure))
    assert files_in(path.parent) == [pathlib.Path("gallery.png")]

    plots.plot_explanation_gallery(images[:1], explanation[0], path=str(path), data_format=LAST)  # replaces the file
    with Image.open(path) as image:
        assert image.height < figure.bbox.height
    assert files_in(path.parent) == [pathlib.Path("gallery.png")]


@pytest.mark.one_backend
def test_five_rows_of_pairs_are_at_most_1600_pixels_wide(colour_model, images):
    images = np.concatenate([images, images])[:5]
    explanation = colour_model.explain(images, target=[[0, 1]] * 5)
    assert 1000 < plots.plot_explanation_gallery(images, explanation, data_format=LAST).bbox.width <= 1600


def test_the_suffix_gives_the_format(tmp_path):
    figure = Figure(figsize=(1, 2), dpi=50)
    for name, start in (("a.pdf", b"%PDF"), ("a.svg", b"<?xml"), ("a", b"\x89PNG")):
        plots.save_figure(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    assert files_in(tmp_path) == [pathlib.Path(name) for name in ("a", "a.pdf", "a.svg")]


def test_a_file_is_replaced_whole_and_never_written_into(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    (tmp_path / "link.png").hardlink_to(path)
    plots.save_figure(Figure(figsize=(1, 1), dpi=50), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "link.png").read_bytes() == b"before"
    assert files_in(tmp_path) == [pathlib.Path("a.png"), pathlib.Path("link.png")]


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    figure = Figure(figsize=(1, 1), dpi=50)
    with pytest.raises(ValueError, match=r"'nonsense' is not supported \(supported formats: .*png"):
        plots.save_figure(figure, tmp_path / "new" / "a.nonsense")
    assert files_in(tmp_path) == []

    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"folder\.png"):
        plots.save_figure(figure, tmp_path / "folder.png")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="file"):
        plots.save_figure(figure, tmp_path / "file" / "a.png")
    assert files_in(tmp_path) == [pathlib.Path("file"), pathlib.Path("folder.png")]
    assert (tmp_path / "file").read_text() == "kept"
