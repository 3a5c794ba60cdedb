"""Dynamic Alignment Units: the part that dense and convolutional layers share (paper, eq. 1)."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import constraints, initializers, ops, regularizers

from keras_coda.backend.conventions import Tensor
from keras_coda.contractions import make_contraction
from keras_coda.layers import rescaling as rescalings
from keras_coda.linear_maps.linear_map import LinearMap


def smallest_squared_norm(compute_dtype: str) -> float:
    """Floor for squared norms. With it a zero weight vector has a finite rescaling and a zero gradient.

    The rescaling "l2" is then at most 1e6, and in float16, whose largest number is 65504, at most 1e4.
    """
    return 1e-8 if compute_dtype == "float16" else 1e-12


class DAU(keras.layers.Layer):
    """Base class of `DAUDense` and `DAUConv2D`: `units` DAUs on patches of d numbers, which share B.

    Unit j computes (paper, eq. 1, and 3.4 for the shared B)

        DAU_j(x) = w_j(x) . x    with    w_j(x) = alpha(|u_j|) u_j    and    u_j = A_j B x + b_j

    The vectors w_j(x) are never built, see `keras_coda.contractions`.

    A subclass defines what a patch is, by `correlate`, `patches` and their transposes. All arguments are as for
    `DAUDense`.
    """

    def __init__(
        self,
        units: int,
        rank: int,
        rescaling: str | Callable = "sq",
        use_bias: bool = True,
        a_initializer: Any = None,
        b_initializer: Any = None,
        bias_initializer: Any = None,
        a_regularizer: Any = None,
        b_regularizer: Any = None,
        bias_regularizer: Any = None,
        a_constraint: Any = None,
        b_constraint: Any = None,
        bias_constraint: Any = None,
        activity_regularizer: Any = None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        for name, value in (("units", units), ("rank", rank)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}")
        self.units = units
        self.rank = rank
        self.rescaling = rescalings.get(rescaling)
        self.use_bias = use_bias
        # Published: uniform in +-1/sqrt(fan_in). B takes d numbers; A and b take z, which has r.
        reach = 1.0 / math.sqrt(rank)
        uniform = initializers.RandomUniform
        self.a_initializer = initializers.get(a_initializer or uniform(-reach, reach))
        self.b_initializer = initializers.get(
            b_initializer or initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        )
        self.bias_initializer = initializers.get(bias_initializer or uniform(-reach, reach))
        self.a_regularizer = regularizers.get(a_regularizer)
        self.b_regularizer = regularizers.get(b_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.a_constraint = constraints.get(a_constraint)
        self.b_constraint = constraints.get(b_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _add_weights(self, patch_shape):
        # Keras does not cast these to the compute dtype, since norms need full precision (see `Contraction`).
        shared = {"autocast": False}
        self.a_kernel = self.add_weight(
            name="a_kernel",
            shape=(*patch_shape, self.rank, self.units),
            initializer=self.a_initializer,
            regularizer=self.a_regularizer,
            constraint=self.a_constraint,
            **shared,
        )
        self.b_kernel = self.add_weight(
            name="b_kernel",
            shape=(*patch_shape, self.rank),
            initializer=self.b_initializer,
            regularizer=self.b_regularizer,
            constraint=self.b_constraint,
            **shared,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(*patch_shape, self.units),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                **shared,
            )
        # The number of a kernel's axes that belong to a patch, for `keras_coda.optimizers.Muon`.
        for kernel in self.weights:
            kernel.patch_axes = len(patch_shape)

    def correlate(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The dot product of every patch with every column of `kernel (*patch_shape, m)`: `(..., m)`."""
        raise NotImplementedError

    def correlate_transpose(self, outputs: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        """The transpose of `correlate`: `outputs (..., m)` give inputs of the size of `like`."""
        raise NotImplementedError

    def patches(self, inputs: Tensor) -> Tensor:
        """Every patch as a vector: `(..., d)`."""
        raise NotImplementedError

    def patches_transpose(self, patches: Tensor, like: Tensor) -> Tensor:
        """The transpose of `patches`, which adds up where patches overlap, for inputs of the size of `like`."""
        raise NotImplementedError

    def linear_map(self, inputs: Tensor) -> tuple[Tensor, LinearMap]:
        """The layer's outputs, and the matrix W(a) that made them (paper, eq. 5).

        Args:
            inputs: tensor a of the shape that the layer takes, with a batch axis.

        Returns:
            `(outputs, W)`: the tensor `W @ a`, and W(a) as a `LinearMap`.
        """
        inputs = ops.cast(inputs, self.compute_dtype)
        u = make_contraction(self, inputs)
        products, squared_norms = u.products_and_squared_norms()
        floor = smallest_squared_norm(self.compute_dtype)
        if u.scale is not None:
            floor = floor * ops.square(u.scale)
        alpha = self.rescaling(ops.sqrt(ops.maximum(squared_norms, floor)))
        if u.scale is not None:
            alpha = alpha * u.scale

        def scale(v):
            return ops.cast(alpha * ops.cast(v, alpha.dtype), self.compute_dtype)

        def apply(v):
            return scale(u.products(ops.cast(v, self.compute_dtype)))

        def transpose(v):
            return u.transpose(scale(v))

        return scale(products), LinearMap(apply, transpose)

    def call(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.linear_map(inputs)
        return outputs

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "units": self.units,
            "rank": self.rank,
            "rescaling": rescalings.serialize(self.rescaling),
            "use_bias": self.use_bias,
            "a_initializer": initializers.serialize(self.a_initializer),
            "b_initializer": initializers.serialize(self.b_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "a_regularizer": regularizers.serialize(self.a_regularizer),
            "b_regularizer": regularizers.serialize(self.b_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "a_constraint": constraints.serialize(self.a_constraint),
            "b_constraint": constraints.serialize(self.b_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }
