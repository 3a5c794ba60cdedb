"""A gallery of explanations: images, beside weights and contributions of one or several classes (paper, Fig. 5)."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_coda.imports import Lazy
from keras_coda.plots.explanations import (
    contribution_limit,
    pictures,
    plot_contribution_map,
    plot_image,
    plot_weights,
    save_figure,
)
from keras_coda.plots.style import (
    DPI,
    FOOT,
    GAP,
    GRAY,
    GROUP_GAP,
    INK,
    MARGIN,
    MINUS,
    PANEL,
    SCALE,
    TITLE,
    WRONG,
    set_title,
)

if TYPE_CHECKING:
    from keras_coda.explanations import Explanation

matplotlib_figure = Lazy("matplotlib.figure", "matplotlib")


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
    images = pictures(images, data_format)
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
        plot_image(images[row], ax, "channels_last")
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


def _classes(name, values, count, classes):
    values = np.asarray(keras.ops.convert_to_numpy(values))
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"`{name}` must be {count} integers. Received: {values.dtype} of shape {values.shape}")
    if not np.isin(values, np.arange(classes)).all():
        raise ValueError(f"`{name}` must be classes from 0 to {classes - 1}. Received: {values.min()}..{values.max()}")
    return values
