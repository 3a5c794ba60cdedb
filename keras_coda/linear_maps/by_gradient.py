"""Linear maps of functions whose transpose is computed as their gradient."""

from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import float_dtype
from keras_coda.linear_maps.convolution import fold
from keras_coda.linear_maps.linear_map import LinearMap


def linear_function(function, inputs):
    """The outputs of a linear function without weights, and its map.

    Args:
        function: linear function of a tensor `(N, ...)` that treats each of the N inputs by itself, such as a resize.
        inputs: tensor `(N, ...)`.

    Returns:
        `(outputs, LinearMap)`.
    """
    outputs = function(inputs)
    dtype, ranks = float_dtype(inputs.dtype), (len(inputs.shape) - 1, len(outputs.shape) - 1)
    transpose = transposed(function, ops.shape(inputs)[1:], dtype)
    W = LinearMap(
        lambda v: fold(function, ops.cast(v, dtype), ranks[0]),
        lambda u: fold(transpose, ops.cast(u, float_dtype(outputs.dtype)), ranks[1]),
    )
    return outputs, W


def transposed(function, shape, dtype):
    """The transpose of a linear function, by its gradient. It is differentiable itself.

    Args:
        function: linear function of a tensor `(N, *shape)`, that treats each of the N inputs by itself.
        shape: shape of one of its inputs, without the batch axis.
        dtype: dtype of its inputs.

    Returns:
        A function of a tensor `(N, ...)`, of the shape of the outputs, that returns `(N, *shape)`.
    """

    def gradient(u):
        anywhere = ops.zeros((ops.shape(u)[0], *shape), dtype)
        _, _, pull = backend.pull_back(lambda x: (function(x), None), anywhere)
        return pull(ops.expand_dims(u, 0))[0]

    # The derivative of the transpose is the function itself. PyTorch could not find it out.
    return backend.custom_gradient(lambda u: (gradient(u), ()), lambda residuals, g: (function(g),))


def elementwise_function(function, inputs):
    """The outputs of an elementwise, piecewise linear function, and the linear map that it is near `inputs`.

    Args:
        function: function of a tensor that treats each number by itself, such as ReLU.
        inputs: tensor.

    Returns:
        `(outputs, LinearMap)`. The map multiplies by the slopes at `inputs`; its offset is `outputs - slopes * inputs`.
    """
    outputs = function(inputs)
    _, _, pull = backend.pull_back(lambda x: (function(x), None), inputs)
    slopes = pull(ops.expand_dims(ops.ones_like(outputs), 0))[0]

    def scale(v):
        return ops.cast(v, slopes.dtype) * slopes

    # `ops.subtract`, as the function may be a layer of another dtype than its inputs'.
    return outputs, LinearMap(scale, scale, ops.subtract(outputs, scale(inputs)))
