"""Trainings that begin with smaller images, which take less time."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_coda.backend.conventions import Tensor
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.linear_maps import follows_graph
from keras_coda.models import CoDANet


class Stage(NamedTuple):
    """A part of a training: from epoch `first` to before `end`, images have `scale` times their height and width."""

    first: int
    end: int
    scale: float


def stages_of(stages: Sequence[dict[str, float]], epochs: int) -> Iterator[Stage]:
    """The epochs of each stage, from first to last. The last one has at least one epoch, others may have none.

    Args:
        stages: see `keras_coda.recipes.Recipe`. Empty for one stage of whole images.
        epochs: integer, number of epochs of the training.

    Yields:
        A `Stage` for each that has epochs.

    Example:

    >>> [*stages_of([{"scale": 0.5, "share": 0.7}, {"scale": 1, "share": 0.3}], epochs=10)]
    [Stage(first=0, end=7, scale=0.5), Stage(first=7, end=10, scale=1)]
    """
    stages = stages or [{"scale": 1, "share": 1}]
    shares = itertools.accumulate(stage["share"] for stage in stages)
    ends = [min(round(epochs * share), epochs - 1) for share in shares]
    for first, end, stage in zip([0, *ends], [*ends[:-1], epochs], stages, strict=False):
        if first < end:
            yield Stage(first, end, stage["scale"])


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Smaller images, each pixel the mean over the area that it covers.

    Kept by hand: on TensorFlow, XLA cannot compile `keras.ops.image.resize` with `antialias`.

    Args:
        images: float tensor `(N, H, W, C)`.
        height, width: integers, at most H and W.

    Returns:
        A tensor `(N, height, width, C)` of the same dtype.

    Example:

    >>> resized(np.array([[[[1.0], [3.0]]]]), 1, 1)
    [[[[2.0]]]]
    """
    rows, columns = (
        ops.convert_to_tensor(_means(*sizes), images.dtype)
        for sizes in ((images.shape[1], height), (images.shape[2], width))
    )
    return ops.einsum("ih,nhwc,jw->nijc", rows, images, columns)


def _means(size, smaller):
    """The matrix `(smaller, size)` of means over equal parts of an axis, the ends of which may cut pixels."""
    edges, pixels = np.linspace(0, size, smaller + 1), np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return covered.clip(0) * smaller / size


class ResizingCoDANet(CoDANet):
    """A `CoDANet` that trains on smaller images than it is given.

    T is in proportion to the number of pixels, since logits are sums over positions. All else that the network does is
    as in a `CoDANet`.

    Attributes:
        scale: number in (0, 1], the factor for height and width. It is a constant of a compiled training step.
    """

    scale: float = 1.0

    @follows_graph  # apart from training
    def call(self, inputs, training=None, mask=None):
        if not training or self.scale == 1:
            return super().call(inputs, training=training, mask=mask)
        images = self._small(inputs)
        logits = super().call(images, training=training, mask=mask)
        return (logits - self.logit_bias) * _ratio(inputs, images) + self.logit_bias

    def linear_map_penalty(self, x, y, sample_weight=None):
        if self.scale == 1:
            return super().linear_map_penalty(x, y, sample_weight)
        images = self._small(x)
        return super().linear_map_penalty(images, y, sample_weight) * _ratio(x, images)

    def _small(self, images):
        height, width = (max(1, round(self.scale * size)) for size in images.shape[1:3])
        return resized(to_unit_range(images, check=False), height, width)


def _ratio(images, smaller):
    """By what the number of pixels was divided."""
    return (images.shape[1] * images.shape[2]) / (smaller.shape[1] * smaller.shape[2])


class SetScale(keras.callbacks.Callback):
    """Sets the scale of a `ResizingCoDANet` at the start of each stage.

    Args:
        stages: list of `Stage`.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = stages

    def on_epoch_begin(self, epoch, logs=None):
        scale = next(stage.scale for stage in self.stages if epoch < stage.end)
        if scale != self.model.scale:
            self.model.scale = scale
            self.model.make_train_function(force=True)
