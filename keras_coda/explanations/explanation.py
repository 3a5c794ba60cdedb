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
        bias: `(N,)`, what the biases of all layers add to the target's logit: of a CoDA-Net the fixed b0 (paper, eq. 9),
            and zero for its inner layers.
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
