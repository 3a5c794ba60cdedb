"""The result of explaining a batch of images."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """An explanation of a model's outputs for N images, as NumPy arrays in float32.

    Shapes are for images of shape `(H, W, C)` after encoding, where C is 6 for colour images. With K targets an image,
    every field except `logits` has an axis of size K after the first.

    Attributes:
        logits: `(N, classes)`, the outputs of the explained layer. Those of an inner layer have its shape.
        targets: `(N,)` integers, the explained outputs; `(N, m)` for a layer whose outputs have m > 1 axes.
        weights: `(N, H, W, C)`, the row of W(x) for the target (paper, eq. 7), temperature included.
        contributions: `(N, H, W, C)`, weights times encoded input (paper, eq. 8). Their sum plus `bias` is the logit.
        contribution_map: `(N, H, W)`, the contributions summed over channels.
        bias: `(N,)`, the part of the target's logit that comes from biases. For a CoDA-Net it is the fixed b0 (paper,
            eq. 9), and zero for its inner layers.
        residual: `(N,)`, completeness: logit - bias - sum of contributions. Zero up to rounding.
        piecewise_linear: names of the layers that were treated as the linear maps that they are at their inputs.
        class_names: names of the classes, in the order of the logits, if the model has `class_names`; or `None`.

    With several sources, as in a model with several inputs, `weights`, `contributions` and `contribution_map` are
    tuples with an array for each. The sum of all contributions plus `bias` is the logit.

    Example:

    >>> explanation = keras_coda.explain(model, images)
    >>> explanation.contributions.sum((1, 2, 3)) + explanation.bias    # the logits of the predicted classes
    """

    logits: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    contributions: np.ndarray
    contribution_map: np.ndarray
    bias: np.ndarray
    residual: np.ndarray
    class_names: Sequence[str] | None = None
    piecewise_linear: tuple[str, ...] = ()

    @property
    def relative_residual(self) -> np.ndarray:
        """|residual| relative to the larger of the target's |logit| and |bias|: `(N,)`, as `residual`."""
        parts = self.contributions if isinstance(self.contributions, tuple) else (self.contributions,)
        sums = [part.sum(tuple(range(self.residual.ndim, part.ndim))) for part in parts]
        logits = sum(sums) + self.bias + self.residual
        size = np.maximum(np.abs(logits), np.abs(self.bias))
        return np.abs(self.residual) / np.where(self.residual == 0, 1, size)

    def __repr__(self):
        fields = ", ".join(f"{name}: {_shape(value)}" for name, value in vars(self).items() if name not in _NAMES)
        return f"Explanation({fields})"

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index) -> "Explanation":
        """The explanation of some of the images, for a slice or an array of indices."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"Expected the index of one of {len(self)} images. Received: {index}")
            index = slice(index, index + 1 or None)
        return type(self)(**{name: self._part(name, index) for name in vars(self)})

    def over_image(self, height: int, width: int) -> "Explanation":
        """The same explanation with contribution maps of an image's size, for features with fewer positions.

        Each of the h x w positions is given the block of the image at its place. Its contribution is spread evenly over
        this block, so that the sum of a map does not change. A position's receptive field may be larger than its block.

        Args:
            height, width: integers, the size of the image in pixels.

        Returns:
            An `Explanation` with contribution maps `(N, height, width)`, or `(N, K, height, width)`.

        Raises:
            ValueError: there are several sources, or the source is no image.

        Example:

        >>> keras_coda.explain(model, images).over_image(224, 224).contribution_map.shape
        (2, 224, 224)
        """
        if isinstance(self.contribution_map, tuple) or self.contribution_map.ndim < 3:
            raise ValueError(f"Expected the map of one image. Received: {self!r}")
        rows, columns = (
            _shares(size, positions)
            for size, positions in zip((height, width), self.contribution_map.shape[-2:], strict=True)
        )
        return dataclasses.replace(self, contribution_map=rows @ self.contribution_map @ columns.T)

    def _part(self, name, index):
        value = getattr(self, name)
        if name in _NAMES:
            return value
        return tuple(part[index] for part in value) if isinstance(value, tuple) else value[index]


_NAMES = ("piecewise_linear", "class_names")


def _shape(value):
    return [getattr(part, "shape", part) for part in value] if isinstance(value, tuple) else value.shape


def _shares(size, positions):
    """The share of each position that each pixel of an axis gets: `(size, positions)`."""
    pixels, cells = np.arange(size + 1)[:, None] * positions, np.arange(positions + 1) * size
    overlap = np.minimum(pixels[1:], cells[1:]) - np.maximum(pixels[:-1], cells[:-1])
    return (np.maximum(overlap, 0) / size).astype("float32")
