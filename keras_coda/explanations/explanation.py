"""The result of explaining a batch of images."""

import dataclasses

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
        bias: `(N,)`, the fixed bias b0 of the target's logit (paper, eq. 9); zero for inner layers.
        residual: `(N,)`, completeness: logit - bias - sum of contributions. Zero up to rounding.
    """

    logits: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    contributions: np.ndarray
    contribution_map: np.ndarray
    bias: np.ndarray
    residual: np.ndarray

    @property
    def relative_residual(self):
        """The size of `residual`, relative to the larger of the target's |logit| and |b0|; of its shape."""
        over_inputs = tuple(range(self.residual.ndim, self.contributions.ndim))
        logits = self.contributions.sum(over_inputs) + self.bias + self.residual
        return np.abs(self.residual) / np.maximum(np.abs(logits), np.abs(self.bias))

    def __repr__(self):
        fields = ", ".join(f"{f.name}: {getattr(self, f.name).shape}" for f in dataclasses.fields(self))
        return f"Explanation({fields})"

    def __len__(self):
        return len(self.logits)

    def __getitem__(self, index):
        """The explanation of some of the images, for a slice or an array of indices."""
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"Expected the index of one of {len(self)} images. Received: {index}")
            index = slice(index, index + 1 or None)
        return Explanation(**{f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)})
