"""A densely connected layer of Dynamic Alignment Units."""

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor
from keras_coda.layers.dau import DAU


@keras.saving.register_keras_serializable(package="keras_coda")
class DAUDense(DAU):
    """A layer of Dynamic Alignment Units on whole vectors: outputs `W(x) x` (paper, eq. 1 and 3.2).

    Each unit j computes its weights from the input x that they are applied to: w_j(x) = alpha(|u_j|) u_j, with
    u_j = A_j B x + b_j. All units share B. With the rescalings "sq" and "l2", |w_j(x)| <= 1, so that no output
    exceeds the norm of its input (paper, eq. 3).

    |u_j|^2 is computed as a sum of terms, which cancel where b_j is close to -A_j B x. In float32 the error of an
    output is then about 1e-7 (|b_j| / |u_j|)^2 |w_j| |x|, see `docs/benchmarks.md`, "Norms that cancel".

    Args:
        units: integer, number of units n, the size of the output.
        rank: integer r, the rank of A_j B: a unit can align with up to r input patterns.
        rescaling: "sq" or "l2" (paper, eq. 2), or a function alpha. It takes the positive norms |u_j|, a float tensor
            of any shape. To save models with a function of your own, register it by
            `keras.saving.register_keras_serializable`.
        use_bias: whether u_j has the term b_j.
        a_initializer, b_initializer, bias_initializer: for A, B and b. Default: uniform in +-1/sqrt(fan_in), where
            fan_in is d for B, and r for A and b, as published.
        a_regularizer, b_regularizer, bias_regularizer: optional `keras.regularizers`.
        a_constraint, b_constraint, bias_constraint: optional `keras.constraints`.
        activity_regularizer: optional regularizer of the outputs.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer. Norms are in float32 under mixed precision.

    Input shape:
        `(N, ..., d)`, a float tensor.

    Output shape:
        `(N, ..., units)`, in the layer's compute dtype.

    Attributes:
        a_kernel: A, shape `(d, rank, units)`.
        b_kernel: B, shape `(d, rank)`.
        bias: b, shape `(d, units)`, or `None`.

    Raises:
        ValueError: `units` or `rank` is no positive integer, or `rescaling` is unknown; or, at build, the size of the
            last input axis is not known.

    Example:

    >>> layer = keras_coda.layers.DAUDense(units=10, rank=3, rescaling="l2")
    >>> layer(np.random.rand(32, 784)).shape
    (32, 10)
    """

    def build(self, input_shape: tuple) -> None:
        if input_shape[-1] is None:
            raise ValueError(f"DAUDense needs inputs with a known last axis. Received: input_shape={input_shape}")
        self._add_weights((input_shape[-1],))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def correlate(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return ops.matmul(inputs, kernel)

    def correlate_transpose(self, outputs: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        return ops.matmul(outputs, ops.transpose(kernel))

    def patches(self, inputs: Tensor) -> Tensor:
        return inputs

    def patches_transpose(self, patches: Tensor, like: Tensor) -> Tensor:
        return patches

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)
