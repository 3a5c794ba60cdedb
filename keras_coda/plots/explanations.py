"""Pictures of explanations: contribution maps, and weights in colour (paper, Fig. 2)."""

import io
import os
import pathlib
from typing import Any

import keras
import numpy as np

from keras_coda.backend.conventions import standardize_data_format
from keras_coda.files import written_whole
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.plots.style import GRAY, PANEL

# Scales end at this percentile, so that a few extreme pixels do not make the rest pale.
PERCENTILE = 99.5


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
    [picture] = pictures(keras.ops.convert_to_numpy(image)[np.newaxis], data_format)
    return _draw(picture, ax, cmap="gray", vmin=0, vmax=1)


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


def _draw(image, ax, **scale):
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.gca()
    ax.set(xticks=[], yticks=[], facecolor="white")
    ax.spines[:].set(edgecolor=GRAY, linewidth=0.5)
    # Small images are drawn pixel by pixel. Larger ones are shrunk, with Matplotlib's smoothing.
    return ax.imshow(image, interpolation="nearest" if max(image.shape[:2]) <= PANEL else None, **scale)


def pictures(images: Any, data_format: str | None) -> np.ndarray:
    """Images as floats in [0, 1], `(N, H, W)` or `(N, H, W, 3)`. Raises a ValueError for what is none."""
    images = to_unit_range(keras.ops.convert_to_numpy(images))
    shape = images.shape
    images = images[..., np.newaxis] if images.ndim == 3 else _channels_last(images, data_format)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in shape:
        raise ValueError(f"`images` must be gray or of three colours, (N, H, W[, C]), N > 0. Received: shape {shape}")
    return np.clip(images[..., 0] if images.shape[-1] == 1 else images, 0, 1)


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
