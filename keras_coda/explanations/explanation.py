"""The result of explaining a batch of images."""

import dataclasses
import typing

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Why a model gave its outputs, for N images, as NumPy arrays in float32.

    With several targets an image, K of them, every field but `logits` has an axis of size K after the first.
    Shapes are for images of shape `(H, W, C)` after encoding, where C is 6 for colour images.

    Attributes:
        logits: `(N, classes)`, the outputs of the explained layer; of an inner layer, of its shape.
        targets: `(N,)` integers, the explained outputs; `(N, m)` where a layer's outputs have m > 1 axes.
        weights: `(N, H, W, C)`, the row of W(x) for the target (paper, eq. 7), temperature included.
        contributions: `(N, H, W, C)`, weights times encoded input (paper, eq. 8). Their sum plus `bias` is the logit.
        contribution_map: `(N, H, W)`, the contributions summed over channels.
        bias: `(N,)`, what the biases of all layers add to the target's logit: of a CoDA-Net the fixed b0 (paper, eq.
            9), and zero for its inner layers.
        residual: `(N,)`, completeness: logit - bias - sum of contributions. Zero up to rounding.
        piecewise_linear: names of the layers that were taken for the linear maps that they are at their inputs.

    Where several tensors contribute, as in a model with several inputs, `weights`, `contributions` and
    `contribution_map` are tuples of such arrays, one for each, and the bias and all contributions sum up to the logit.
    """

    logits: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    contributions: np.ndarray
    contribution_map: np.ndarray
    bias: np.ndarray
    residual: np.ndarray
    piecewise_linear: typing.ClassVar[tuple] = ()

    @property
    def relative_residual(self):
        """The size of `residual`, relative to the larger of the target's |logit| and |b0|; of its shape."""
        parts = self.contributions if isinstance(self.contributions, tuple) else (self.contributions,)
        sums = [part.sum(tuple(range(self.residual.ndim, part.ndim))) for part in parts]
        logits = sum(sums) + self.bias + self.residual
        return np.abs(self.residual) / np.maximum(np.abs(logits), np.abs(self.bias))

    def __repr__(self):
        fields = ", ".join(f"{name}: {_shape(value)}" for name, value in vars(self).items())
        return f"Explanation({fields})"

    def __len__(self):
        return len(self.logits)

    def __getitem__(self, index):
        """The explanation of some of the images, for a slice or an array of indices."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"Expected the index of one of {len(self)} images. Received: {index}")
            index = slice(index, index + 1 or None)
        return type(self)(**{name: self._part(name, index) for name in vars(self)})

    def over_image(self, height, width):
        """The same with maps of an image's size, for contributions of features that have fewer positions.

        Each position stands for the block of the image at its place, one h-th of the height and one w-th of the width,
        and its contribution is spread evenly over this block. So the sum of a map stays what it is. What a position
        has seen of the image, its receptive field, may be larger than its block.

        Args:
            height, width: the size of the image.

        Returns:
            An `Explanation` with contribution maps `(N, height, width)`, or `(N, K, height, width)`.

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
        if name == "piecewise_linear":
            return value
        return tuple(part[index] for part in value) if isinstance(value, tuple) else value[index]


@dataclasses.dataclass(frozen=True, repr=False)
class PiecewiseLinearExplanation(Explanation):
    """An `Explanation` in which `piecewise_linear` layers were taken for the linear maps that they are at their inputs.

    It is exact for these images as any other. But close to the edges of the pieces, other maps are as near.
    """

    piecewise_linear: tuple = ()  # type: ignore[misc]


def _shape(value):
    return [getattr(part, "shape", part) for part in value] if isinstance(value, tuple) else value.shape


def _shares(size, positions):
    """The share of each of the positions, spread along an axis of `size` pixels, in each pixel: `(size, positions)`."""
    pixels, cells = np.arange(size + 1)[:, None] * positions, np.arange(positions + 1) * size
    overlap = np.minimum(pixels[1:], cells[1:]) - np.maximum(pixels[:-1], cells[:-1])
    return (np.maximum(overlap, 0) / size).astype("float32")
