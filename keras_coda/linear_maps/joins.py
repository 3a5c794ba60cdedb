"""The linear maps of layers that join several tensors: `W @ [v, w]` is a tensor, `W.T @ u` is a list of tensors.

Each function takes a layer and the list of its inputs, and returns `(outputs, LinearMap)`.
"""

import keras
from keras import ops

from keras_coda.backend.conventions import float_dtype
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError


def add(layer, inputs):
    return weighted_sum(layer, layer(inputs), inputs, [1.0] * len(inputs))


def subtract(layer, inputs):
    return weighted_sum(layer, layer(inputs), inputs, [1.0, -1.0])


def average(layer, inputs):
    for tensor in inputs:  # whose sum may overflow before it is divided
        require_floats(layer, tensor)
    return weighted_sum(layer, layer(inputs), inputs, [1.0 / len(inputs)] * len(inputs))


def concatenate(layer, inputs):
    return along_axis(layer, inputs, layer.axis)


def weighted_sum(operation, outputs, inputs, factors, offset=None):
    """The map of a weighted sum of tensors with the same number of axes.

    Args:
        operation: the layer, or the `Step` of an operation, that sums.
        outputs: tensor, the sum as the layer computed it.
        inputs: list of tensors. Axes of size 1 are broadcast.
        factors: for each input a number, or a constant tensor that broadcasts to the outputs.
        offset: the constant that is added, or `None`.

    Returns:
        `(outputs, LinearMap)`.
    """
    require_floats(operation, outputs)
    if any(len(x.shape) != len(outputs.shape) for x in inputs):
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise NotDynamicLinearError(
            f"The layer {operation.name!r} joins tensors with different numbers of axes, which is not supported. "
            f"Expected: the same number in each. Received: shapes {shapes}"
        )

    def apply(vectors):
        first, *others = (_times(v, f) for v, f in zip(vectors, factors, strict=True))
        return sum(others, first)

    def transpose(u):
        u = ops.cast(u, outputs.dtype)
        return [_unbroadcast(_times(u, f), x) for x, f in zip(inputs, factors, strict=True)]

    return outputs, LinearMap(apply, transpose, offset)


def along_axis(operation, inputs, axis):
    """The outputs and the map of a layer, or the `Step` of an operation, that concatenates along an axis."""
    outputs = operation(inputs)
    axis = axis if axis < 0 else axis - len(outputs.shape)
    if axis == -len(outputs.shape):
        raise NotDynamicLinearError(
            f"The layer {operation.name!r} concatenates tensors along the batch axis. Expected: along another axis."
        )
    sizes = [ops.shape(x)[axis] for x in inputs]

    def transpose(u):
        u, parts, start = ops.cast(u, float_dtype(outputs.dtype)), [], 0
        for size in sizes:
            parts.append(u[(..., slice(start, start + size), *[slice(None)] * (-axis - 1))])
            start += size
        return parts

    return outputs, LinearMap(lambda vectors: ops.concatenate(vectors, axis=axis), transpose)


def require_floats(operation, tensor):
    """Raise an error where a layer, or the `Step` of an operation, calculates in integers, the dtype of `tensor`."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise NotDynamicLinearError(
            f"The layer {operation.name!r} calculates in {dtype}, whose numbers overflow or are rounded, which is not "
            "linear. Expected: floats, such as those of `ops.cast` or `keras.layers.Rescaling`."
        )


def _times(tensor, factor):
    """The product, without a multiplication by 1."""
    return tensor if isinstance(factor, float) and factor == 1 else tensor * factor


def _unbroadcast(u, like):
    """The transpose of broadcasting: sum `u` to the shape of `like`."""
    rank = len(like.shape)
    axes = [axis for axis in range(1 - rank, 0) if like.shape[axis] == 1 and u.shape[axis] != 1]
    return ops.sum(u, axis=axes, keepdims=True) if axes else u
