"""What the forms of the contraction share."""


class Contraction:
    """The weight vectors u_j(x) = A_j B x + b_j of a DAU layer for one batch of inputs, before their rescaling.

    They are never built. With z = B x, as in `keras_coda.layers.dau.DAU`

        u_j . v  = z . (A_j^T v) + b_j . v
        |u_j|^2  = z . (A_j^T A_j z) + 2 z . (A_j^T b_j) + |b_j|^2

    A subclass is a way to compute these; all are equal up to rounding.

    Args:
        layer: the `DAU` layer.
        inputs: tensor x, as the layer takes it, in its compute dtype.
    """

    def __init__(self, layer, inputs):
        self.layer = layer
        self.inputs = inputs

    def products_and_squared_norms(self):
        """`u_j . x` in the compute dtype, and `|u_j|^2` in float32 at least: `(N, ..., n)` each.

        Rounding can leave a squared norm slightly below zero.
        """
        raise NotImplementedError

    def products(self, v):
        """`u_j . v` of every patch: `v (..., *inputs.shape)` gives `(..., N, ..., n)`."""
        raise NotImplementedError

    def transpose(self, outputs):
        """The transpose of `products`: `outputs (..., N, ..., n)` give `(..., *inputs.shape)`."""
        raise NotImplementedError
