"""The interface that the forms of the contraction share."""

from typing import Any

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor


class Contraction:
    """The weight vectors u_j(x) = A_j B x + b_j of a DAU layer for one batch of inputs, before their rescaling.

    They are never built. With z = B x, as in `keras_coda.layers.dau.DAU`

        u_j . v  = z . (A_j^T v) + b_j . v
        |u_j|^2  = z . (A_j^T A_j z) + 2 z . (A_j^T b_j) + |b_j|^2

    Each subclass is one way to compute these. All give equal results up to rounding.

    In float16, u_j . v may exceed the largest number, 65504, where the layer's outputs do not: these are at most |v|.
    So u_j is divided by `scale` there, and the rescaling multiplies by it.

    Attributes:
        scale: `(N, ..., 1)` in float32, one for each patch; `None` in dtypes other than float16.

    Args:
        layer: the `DAU` layer.
        inputs: tensor x, as the layer takes it, in its compute dtype.
    """

    def __init__(self, layer: Any, inputs: Tensor):
        self.layer = layer
        self.inputs = inputs
        self.scale: Tensor | None = None

    def _scaled(self, z):
        """Set `scale`, and return z / scale: the largest power of two up to a patch's largest |z_i|, and at least 1."""
        if keras.backend.standardize_dtype(z.dtype) != "float16":
            return z
        wide = ops.cast(z, "float32")
        largest = ops.maximum(ops.max(ops.abs(wide), axis=-1, keepdims=True), 1.0)
        # The scale is multiplied back later, so it has no derivatives.
        self.scale = ops.stop_gradient(ops.exp2(ops.floor(ops.log2(largest))))
        return ops.cast(wide / self.scale, z.dtype)

    def products_and_squared_norms(self) -> tuple[Tensor, Tensor]:
        """`u_j . x / scale` in the compute dtype, and `|u_j|^2` in at least float32: `(N, ..., n)` each.

        Rounding can leave a squared norm slightly below zero.
        """
        raise NotImplementedError

    def products(self, v: Tensor) -> Tensor:
        """`u_j . v / scale` for every patch: `v (..., *inputs.shape)` gives `(..., N, ..., n)`."""
        raise NotImplementedError

    def transpose(self, outputs: Tensor) -> Tensor:
        """The transpose of `products`: `outputs (..., N, ..., n)` give `(..., *inputs.shape)`."""
        raise NotImplementedError


def contract(z: Tensor, matrices: Tensor) -> Tensor:
    """Sum over the rank: `z (..., r)` and `matrices (..., r, n)` give `(..., n)`."""
    return ops.squeeze(ops.matmul(ops.expand_dims(z, -2), matrices), -2)
