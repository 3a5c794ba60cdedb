"""W(a): the matrix that a dynamic linear layer is for one given input, as an object (paper, eq. 5 to 7)."""

from collections.abc import Callable
from typing import Any

from keras_coda.backend.conventions import Tensor


class NotDynamicLinearError(ValueError):
    """A layer or model does not compute W(x) x, so that it has no contributions."""

    # Tells Keras not to append the arguments of the call to the message.
    _keras_call_info_injected = True


class LinearMap:
    """The matrix W(a) of a dynamic linear layer, applied without being built (paper, eq. 5).

    `W @ v` applies it, `W.T @ u` applies its transpose, and `W2 @ W1` is the product of two (paper, eq. 7). Products
    and transposes are matrices alone: they have no `offset`. `keras_coda.linear_maps.linear_map` of a model has the
    offset to which the biases of all layers add up.

    There is one matrix for each of the N inputs. Vectors have the inputs' batch axis. They may have further axes before
    it, for several vectors an input, as in `numpy.matmul`: `v` has shape `(..., N, *input_shape)`, `u` has shape
    `(..., N, *output_shape)`.

    Args:
        apply: function of `v` that returns `W v`.
        transpose: function of `u` that returns `W^T u`.
        offset: the constant that the layer adds to `W a`, or `None`. `W @ v` does not add it.

    Example:

    >>> layer = keras_coda.layers.DAUDense(units=10, rank=4)
    >>> a = np.random.rand(2, 64).astype("float32")
    >>> layer.build(a.shape)
    >>> outputs, W = layer.linear_map(a)
    >>> float(keras.ops.max(keras.ops.abs(outputs - W @ a))) < 1e-5
    True
    >>> (W.T @ keras.ops.one_hot([3, 5], 10)).shape    # a row of W(a) for each of the two inputs
    (2, 64)
    """

    def __init__(self, apply: Callable[[Any], Any], transpose: Callable[[Any], Any], offset: Tensor | None = None):
        self._apply = apply
        self._transpose = transpose
        self.offset = offset

    @property
    def T(self) -> "LinearMap":
        """The transposed map."""
        return LinearMap(self._transpose, self._apply)

    def __matmul__(self, other: Any) -> Any:
        if not isinstance(other, LinearMap):
            return self._apply(other)
        return LinearMap(lambda v: self @ (other @ v), lambda u: other.T @ (self.T @ u))


def of_list(W: LinearMap) -> LinearMap:
    """The map of a list with one vector, whose transpose returns such a list."""
    return LinearMap(lambda v: W @ v[0], lambda u: [W.T @ u], W.offset)


def identity() -> LinearMap:
    """The identity map."""
    return LinearMap(lambda v: v, lambda u: u)
