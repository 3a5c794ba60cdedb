"""Pictures of explanations: contribution maps, weights in colour, and galleries of both (paper, Fig. 2 and 5)."""

import bisect
import io
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_coda.backend.conventions import standardize_data_format
from keras_coda.files import written_whole
from keras_coda.imports import Lazy
from keras_coda.layers.unit_range import to_unit_range

if TYPE_CHECKING:
    from keras_coda.explanations import Explanation

matplotlib_figure = Lazy("matplotlib.figure", "matplotlib")
font_manager = Lazy("matplotlib.font_manager", "matplotlib")
textpath = Lazy("matplotlib.textpath", "matplotlib")

# Scales end at this percentile, so that a few extreme pixels do not make the rest pale.
PERCENTILE = 99.5

# The layout of a gallery, in pixels. 256 is a multiple of common image sizes, so that all their pixels have one size.
DPI = 160
PANEL, GAP, GROUP_GAP, MARGIN, TITLE, FOOT, SCALE = 256, 8, 32, 16, 64, 24, 80
INK, GRAY, WRONG = "#222222", "#888888", "#c00000"
MINUS = "\N{MINUS SIGN}"


def target_and_strongest_other(logits: Any, targets: Any = None) -> np.ndarray:
    """The pairs of classes that a gallery compares. Explain them by `model.explain(images, target=pairs)`.

    Args:
        logits: `(N, classes)`.
        targets: `(N,)` integers, classes. Default: the predicted classes.

    Returns:
        `(N, 2)` integers: the target, and the class with the largest logit among the others. With one class, `(N, 1)`.

    Raises:
        ValueError: the logits have another shape, or the targets are not N classes.

    Example:

    >>> target_and_strongest_other(np.array([[0.1, 3.0, 2.0]]), targets=[2])
    array([[2, 1]])
    """
    logits = keras.ops.convert_to_numpy(logits)
    if logits.ndim != 2 or logits.shape[1] < 1:
        raise ValueError(f"`logits` must be of shape (N, classes), classes > 0. Received: shape {logits.shape}")
    best = np.argsort(-logits.astype("float64"), axis=1, kind="stable")[:, :2]
    first, second = best[:, 0], best[:, -1]
    targets = first if targets is None else _classes("targets", targets, *logits.shape)
    return np.stack([targets, np.where(first == targets, second, first)], axis=1)[:, : logits.shape[1]]


def weights_limit(weights: Any, data_format: str | None = None) -> np.ndarray:
    """The strength at which weights are drawn in full colour: the 99.5th percentile over the image.

    For an encoded image the strength of a pixel is the norm of its positive weights. Otherwise it is the absolute value
    of each weight.

    Args:
        weights, data_format: see `weights_to_rgba`.

    Returns:
        `(...)` numbers, one for each image. To draw several images on one scale, give the largest of them to
        `weights_to_rgba` as `limit`.

    Example:

    >>> limit = keras_coda.plots.weights_limit(explanation.weights).max()
    >>> pictures = keras_coda.plots.weights_to_rgba(explanation.weights, limit=limit)
    """
    weights, largest, strengths, axes = _strengths(weights, data_format)
    leading = weights.shape[:-3]
    return _strong(strengths, axes).reshape(leading) * largest.reshape(leading)


def weights_to_rgba(
    weights: Any, contribution_map: Any = None, data_format: str | None = None, limit: float | None = None
) -> np.ndarray:
    """Convert weights to RGBA colours. This inverts the input encoding, which turns colours into channels.

    For an encoded image only positive weights are shown. Each colour is its share w_c / (w_c + w_c') of the weights of
    the image and of the negative image. So weights that are proportional to an encoded image have the colours of that
    image. The opacity is the norm of a pixel's weights, relative to the 99.5th percentile over the image.

    For an image without its negative (`add_negative=False`) weights are opaque. Zero is mid gray, positive weights are
    brighter and negative ones darker, up to that percentile of their absolute values (paper, Fig. 2).

    Args:
        weights: `(..., H, W, 6)` for [r, g, b, 1 - r, 1 - g, 1 - b], `(..., H, W, 2)` for gray images, or 3 or 1
            channels without the negative image, as in `explanation.weights`; `(..., C, H, W)` with "channels_first".
        contribution_map: `(..., H, W)`, `explanation.contribution_map`. For an encoded image, pixels that do not
            contribute positively are then transparent. Default: all pixels are shown.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        limit: a positive number that replaces the percentile of each image, to compare images. See `weights_limit`.

    Returns:
        `(..., H, W, 4)`, float64 RGBA in [0, 1], not premultiplied.

    Raises:
        ValueError: the number of channels or the shape of the map is another, or values are not finite.

    Example:

    >>> weights_to_rgba(np.array([[[2.0, 0.0, 0.0, 0.0, 2.0, 2.0]]]))
    array([[[1., 0., 0., 1.]]])
    """
    weights, largest, strengths, axes = _strengths(weights, data_format)
    has_negative = weights.shape[-1] in (2, 6)
    strong = _strong(strengths, axes)
    if limit is not None:
        strong = _positive("limit", limit) / np.reshape(largest, strong.shape)
    if has_negative:
        colours, negatives = np.split(weights, 2, axis=-1)
        rgb = colours / _or_one(colours + negatives)
        alpha = np.minimum(strengths / strong, 1)
    else:
        rgb = np.clip(0.5 + 0.5 * weights / strong, 0, 1)
        alpha = np.ones(weights.shape[:-1])
    if contribution_map is not None:
        contribution_map = _finite("contribution_map", contribution_map)
        if contribution_map.shape != alpha.shape:
            raise ValueError(
                f"`contribution_map` must be of shape {alpha.shape}. Received: shape {contribution_map.shape}"
            )
        if has_negative:
            alpha = np.where(contribution_map > 0, alpha, 0)
    return np.concatenate([np.broadcast_to(rgb, (*alpha.shape, 3)), alpha[..., np.newaxis]], axis=-1)


def plot_image(image: Any, ax: Any = None, data_format: str | None = None) -> Any:
    """Draw an image.

    Args:
        image: `(H, W, 3)`, `(H, W, 1)` or `(H, W)`, in [0, 1], or integers in 0..255; `(C, H, W)` with
            "channels_first".
        ax: Matplotlib axes to draw on. Default: the current axes of pyplot.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.

    Returns:
        The `matplotlib.image.AxesImage`.

    Example:

    >>> picture = keras_coda.plots.plot_image(images[0])
    """
    return _draw_picture(_pictures(keras.ops.convert_to_numpy(image)[np.newaxis], data_format)[0], ax)


def plot_weights(
    weights: Any,
    ax: Any = None,
    contribution_map: Any = None,
    data_format: str | None = None,
    limit: float | None = None,
) -> Any:
    """Draw the weights of one image in colour, on white.

    Args:
        weights, contribution_map, data_format, limit: see `weights_to_rgba`, without leading axes.
        ax: Matplotlib axes to draw on. Default: the current axes of pyplot.

    Returns:
        The `matplotlib.image.AxesImage`.

    Example:

    >>> picture = keras_coda.plots.plot_weights(explanation.weights[0])
    """
    return _draw(weights_to_rgba(weights, contribution_map, data_format, limit), ax)


def plot_contribution_map(contribution_map: Any, ax: Any = None, limit: float | None = None) -> Any:
    """Draw a contribution map: positive contributions in red, negative ones in blue, on a scale around zero.

    Args:
        contribution_map: `(H, W)`, one of `explanation.contribution_map`.
        ax: Matplotlib axes to draw on. Default: the current axes of pyplot.
        limit: end of the scale on both sides. To compare several maps, give all the same limit. Default: the 99.5th
            percentile of the absolute contributions.

    Returns:
        The `matplotlib.image.AxesImage`.

    Raises:
        ValueError: the map is not of shape `(H, W)` and finite, or the limit is not positive.

    Example:

    >>> plot_contribution_map(explanation.contribution_map[0])
    """
    contribution_map = _finite("contribution_map", contribution_map)
    if contribution_map.ndim != 2:
        raise ValueError(f"`contribution_map` must be of shape (H, W). Received: shape {contribution_map.shape}")
    limit = contribution_limit(contribution_map) if limit is None else _positive("limit", limit)
    return _draw(contribution_map, ax, cmap="RdBu_r", vmin=-limit, vmax=limit)


def contribution_limit(maps: np.ndarray) -> float:
    """The end of the colour scale of contribution maps: the 99.5th percentile of the absolute values of all maps.

    Args:
        maps: array of any shape, such as `explanation.contribution_map`.

    Returns:
        A positive number; 1 if all values are 0.

    Example:

    >>> limit = keras_coda.plots.contribution_limit(explanation.contribution_map)
    >>> picture = keras_coda.plots.plot_contribution_map(explanation.contribution_map[0], limit=limit)
    """
    return np.percentile(np.abs(maps), PERCENTILE) or np.abs(maps).max() or 1.0


def plot_explanation_gallery(
    images: Any,
    explanation: "Explanation",
    classes: Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
    *,
    labels: Any = None,
    max_images: int = 8,
    data_format: str | None = None,
    limit: float | None = None,
    weight_limit: float | None = None,
) -> Any:
    """Draw explanations with a row for each image: the image, then weights and contribution map of each target.

    The maps of a row have the same scale, so that they can be compared. Contributions are in units of the logit.
    Weights are shown in colour where they contribute positively, see `weights_to_rgba`.

    Args:
        images: `(N, H, W, 3)`, `(N, H, W, 1)` or `(N, H, W)`, in [0, 1], or integers in 0..255; `(N, C, H, W)` with
            "channels_first".
        explanation: the `Explanation` of the images, with one or several targets for each image.
        classes: list of the names of the classes. Default: the explanation's `class_names`, or the classes' numbers.
        path: file to save the figure in, see `save_figure`. Default: it is not saved.
        labels: `(N,)` integers, the true classes. They are the titles of the images, in red if another class is
            predicted.
        max_images: largest number of images; the first ones are drawn.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        limit, weight_limit: ends of the scales of all contribution maps and of all weights, see
            `plot_contribution_map` and `weights_to_rgba`. Default: each row has its own scales.

    Returns:
        The `matplotlib.figure.Figure`, which is not one of pyplot's.

    Raises:
        ValueError: the arguments do not fit one another, or the explanation is not one of logits.

    Example:

    >>> pairs = target_and_strongest_other(model.predict(images))
    >>> explanation = model.explain(images, target=pairs)
    >>> plot_explanation_gallery(images, explanation, classes=classes, path="gallery.png")
    """
    images = _pictures(images, data_format)
    classes = explanation.class_names if classes is None else classes
    logits, maps = explanation.logits, explanation.contribution_map
    if isinstance(maps, tuple) or logits.ndim != 2 or (len(maps), *maps.shape[-2:]) != images.shape[:3]:
        raise ValueError(f"Expected logits explained by images of shape {images.shape}. Received: {explanation}")
    if classes is not None and len(classes) != logits.shape[1]:
        raise ValueError(f"`classes` must be {logits.shape[1]} names. Received: {len(classes)} names")
    if max_images < 1:
        raise ValueError(f"`max_images` must be positive. Received: {max_images}")
    labels = None if labels is None else _classes("labels", labels, *logits.shape)
    targets = explanation.targets.reshape(len(images), -1)
    maps = maps.reshape(*targets.shape, *maps.shape[-2:])
    weights = explanation.weights.reshape(*targets.shape, *explanation.weights.shape[-3:])

    count = min(len(images), max_images)
    panel_height = round(PANEL * images.shape[1] / images.shape[2])
    group = 2 * PANEL + GAP + GROUP_GAP
    width = MARGIN + PANEL + targets.shape[1] * group + SCALE + MARGIN
    height = MARGIN + count * (TITLE + panel_height) + FOOT + MARGIN
    figure = matplotlib_figure.Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def panel(left, row, foot=None, panel_width=PANEL):
        bottom = height - MARGIN - (row + 1) * (TITLE + panel_height)
        ax = figure.add_axes((left / width, bottom / height, panel_width / width, panel_height / height))
        if row == count - 1:
            ax.set_xlabel(foot, fontsize=7, color=GRAY)
        return ax

    def name(index):
        return f"class {index}" if classes is None else " ".join(str(classes[index]).split())

    for row in range(count):
        ax = panel(MARGIN, row, "image")
        _draw_picture(images[row], ax)
        if labels is not None:
            predicted = np.argmax(logits[row])
            correct = predicted == labels[row]
            outcome = "correct" if correct else f"predicted: {name(predicted)}"
            set_title(ax, PANEL, name(labels[row]), outcome, INK if correct else WRONG)
        row_limit = contribution_limit(maps[row]) if limit is None else limit
        for k, target in enumerate(targets[row]):
            left = MARGIN + PANEL + GROUP_GAP + k * group
            ax = panel(left, row, "weights")
            plot_weights(weights[row, k], ax, maps[row, k], data_format, weight_limit)
            logit = logits[row, target]
            values = f"logit {logit:.1f}, p = {(1 + np.tanh(logit / 2)) / 2:.2f}".replace("-", MINUS)
            set_title(ax, 2 * PANEL + GAP, name(target), values, INK)
            drawn = plot_contribution_map(maps[row, k], panel(left + PANEL + GAP, row, "contributions"), row_limit)
        scale = panel(left + 2 * PANEL + 2 * GAP, row, panel_width=GAP)
        figure.colorbar(drawn, scale, ticks=[-row_limit, 0, row_limit]).outline.set(edgecolor=GRAY, linewidth=0.5)
        scale.set_yticklabels([f"{MINUS}{row_limit:.2g}", "0", f"{row_limit:.2g}"])
        scale.tick_params(labelsize=6, length=2, width=0.5, pad=1, color=GRAY, labelcolor=INK)
    if path is not None:
        save_figure(figure, path)
    return figure


def save_figure(figure: Any, path: str | os.PathLike) -> None:
    """Write a figure to a file as a whole or not at all, and create its folder.

    Args:
        figure: `matplotlib.figure.Figure`.
        path: the file. Its suffix is the format; without a suffix it is PNG.

    Raises:
        ValueError: Matplotlib does not know the format.
        OSError: the file cannot be written.

    Example:

    >>> picture = keras_coda.plots.plot_contribution_map(explanation.contribution_map[0])
    >>> keras_coda.plots.save_figure(picture.figure, "map.png")
    """
    path = pathlib.Path(path)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:] or "png", dpi="figure")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, binary=True) as file:
        file.write(content.getvalue())


def _draw_picture(picture, ax):
    return _draw(picture, ax, cmap="gray", vmin=0, vmax=1)


def _draw(image, ax, **scale):
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.gca()
    ax.set(xticks=[], yticks=[], facecolor="white")
    ax.spines[:].set(edgecolor=GRAY, linewidth=0.5)
    # Small images are drawn pixel by pixel. Larger ones are shrunk, with Matplotlib's smoothing.
    return ax.imshow(image, interpolation="nearest" if max(image.shape[:2]) <= PANEL else None, **scale)


def set_title(ax, width, line, next_line="", colour=INK, panel=PANEL):
    """Set a title of two lines, cut to `width` pixels from the left of axes that are `panel` pixels wide."""
    font = font_manager.FontProperties(size=8)

    def length(text):
        return textpath.text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] * DPI / 72

    def cut(text):
        if length(text) <= width:
            return text
        end = bisect.bisect(range(1, len(text)), width, key=lambda end: length(text[:end] + "…"))
        return text[:end].rstrip() + "…"

    title = f"{cut(line)}\n{cut(next_line)}"
    ax.set_title(title, x=width / panel / 2, fontproperties=font, color=colour, parse_math=False)


def _pictures(images, data_format):
    images = to_unit_range(keras.ops.convert_to_numpy(images))
    shape = images.shape
    images = images[..., np.newaxis] if images.ndim == 3 else _channels_last(images, data_format)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in shape:
        raise ValueError(f"`images` must be gray or of three colours, (N, H, W[, C]), N > 0. Received: shape {shape}")
    return np.clip(images[..., 0] if images.shape[-1] == 1 else images, 0, 1)


def _classes(name, values, count, classes):
    values = np.asarray(keras.ops.convert_to_numpy(values))
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"`{name}` must be {count} integers. Received: {values.dtype} of shape {values.shape}")
    if not np.isin(values, np.arange(classes)).all():
        raise ValueError(f"`{name}` must be classes from 0 to {classes - 1}. Received: {values.min()}..{values.max()}")
    return values


def _finite(name, array):
    array = keras.ops.convert_to_numpy(array).astype("float64")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinite values")
    return array


def _channels_last(array, data_format):
    first = standardize_data_format(data_format) == "channels_first"
    return np.moveaxis(array, -3, -1) if first and array.ndim >= 3 else array


def _positive(name, number):
    if not 0 < number < np.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {number!r}")
    return number


def _strengths(weights, data_format):
    """`(weights, largest, strengths, axes)`.

    Weights with channels last, divided by the largest of their image; this largest weight; the strength of each pixel;
    and the axes over which the percentile of the strength is taken.
    """
    weights = _channels_last(_finite("weights", weights), data_format)
    if weights.ndim < 3 or weights.shape[-1] not in (1, 2, 3, 6):
        raise ValueError(
            "`weights` must be those of an encoded image, with 6 channels, or 2 for gray images, or 3 or 1 without "
            f"the negative image. Received: shape {weights.shape} (channels last)"
        )
    has_negative = weights.shape[-1] in (2, 6)
    if has_negative:
        weights = np.maximum(weights, 0)
    largest = _or_one(np.abs(weights).max(axis=(-3, -2, -1), keepdims=True))
    weights = weights / largest
    if has_negative:
        return weights, largest, np.linalg.norm(weights, axis=-1), (-2, -1)
    return weights, largest, np.abs(weights), (-3, -2, -1)


def _strong(magnitudes, axis):
    return np.maximum(np.percentile(magnitudes, PERCENTILE, axis=axis, keepdims=True), np.finfo("float64").tiny)


def _or_one(values):
    return np.where(values > 0, values, 1)
