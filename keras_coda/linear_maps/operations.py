"""The linear maps of operations of `keras.ops` in a model, such as `x + y` and `ops.flip(x, axis=1)`.

Each function takes an applied operation (a `Step` of the graph) and the list of its tensors, and returns `(outputs,
LinearMap)`, in which `W.T @ u` is a list: one for each tensor. Constants of the operation are part of the map.
"""

import math

import keras
from keras import ops

from keras_coda.linear_maps import joins
from keras_coda.linear_maps.by_gradient import elementwise_function, linear_function
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError, identity, of_list


def add(step, inputs):
    return _sum(step, inputs, 1.0)


def subtract(step, inputs):
    return _sum(step, inputs, -1.0)


def negative(step, inputs):
    return joins.weighted_sum(step, step(inputs), inputs, [-1.0])


def multiply(step, inputs):
    """The product of a tensor with a constant."""
    if len(inputs) != 1:
        raise NotDynamicLinearError(
            f"{step} multiplies two tensors that both depend on the model's input. Expected: one, and a constant."
        )
    outputs = step(inputs)
    (factor,) = (operand for operand, symbol in _operands(step, inputs) if not symbol)
    return joins.weighted_sum(step, outputs, inputs, [_constant(step, factor, outputs, inputs)])


def divide(step, inputs):
    (_, _), (divisor, depends) = _operands(step, inputs)
    if depends:
        raise NotDynamicLinearError(
            f"{step} divides by a tensor that depends on the model's input. Expected: by a constant."
        )
    outputs = step(inputs)
    return joins.weighted_sum(step, outputs, inputs, [1.0 / _constant(step, divisor, outputs, inputs)])


def matmul(step, inputs):
    (_, _), (matrix, depends) = _operands(step, inputs)
    if depends or len(matrix.shape) != 2:
        raise NotDynamicLinearError(f"{step} has no linear map here. Expected: a tensor times a constant matrix.")
    outputs = step(inputs)
    joins.require_floats(step, outputs)
    matrix = ops.cast(ops.convert_to_tensor(matrix), outputs.dtype)
    W = LinearMap(
        lambda v: ops.matmul(ops.cast(v[0], outputs.dtype), matrix),
        lambda u: [ops.matmul(ops.cast(u, outputs.dtype), ops.transpose(matrix))],
    )
    return outputs, W


def concatenate(step, inputs):
    if len(inputs) != len(keras.tree.flatten(step.arguments.args[0])):
        raise NotDynamicLinearError(f"{step} concatenates tensors with constants. Expected: tensors alone.")
    return joins.along_axis(step, inputs, step.operation.axis)


def cast(step, inputs):
    before, after = (keras.backend.standardize_dtype(x.dtype) for x in (inputs[0], step(inputs)))
    if keras.backend.is_float_dtype(before) and not keras.backend.is_float_dtype(after):
        raise NotDynamicLinearError(f"{step} rounds {before} to {after}, which is not linear. Expected: a float dtype.")
    return step(inputs), of_list(identity())


def rearrange(step, inputs):
    """A linear operation that treats each image by itself. `_check` refuses arguments with which it does not."""
    _check(step, _only(step, inputs))
    if step.several_results:
        return _several(step, inputs)
    outputs, W = linear_function(lambda x: step([x]), inputs[0])
    return outputs, of_list(W)


def _several(step, inputs):
    """An operation with several results, such as `ops.split`. `W.T` takes a list, with `None` for unused results."""
    parts = [linear_function(lambda x, i=i: step([x])[i], inputs[0]) for i in range(len(step.results))]

    def transpose(rows):
        return [sum((W.T @ u for (_, W), u in zip(parts, rows, strict=True) if u is not None), 0.0)]

    return [outputs for outputs, _ in parts], LinearMap(lambda v: [W @ v[0] for _, W in parts], transpose)


def by_pieces(step, inputs):
    """The linear map that an elementwise, piecewise linear operation is at its input."""
    x = _only(step, inputs)
    outputs, W = elementwise_function(lambda x: step([x]), x)
    if tuple(outputs.shape) != tuple(x.shape):
        raise NotDynamicLinearError(
            f"{step} broadcasts its input to the shape of a constant, which has no linear map here. Expected: a "
            f"constant that broadcasts to shape {tuple(x.shape)}. Received: outputs of shape {tuple(outputs.shape)}"
        )
    return outputs, of_list(W)


def _only(step, inputs):
    if len(inputs) != 1:
        raise NotDynamicLinearError(f"{step} takes {len(inputs)} tensors, which has no linear map here. Expected: one.")
    return inputs[0]


def _operands(step, inputs):
    """The two operands, each with whether it is a tensor of the graph and no constant."""
    symbolic = step.arguments.args[:2] if step.arguments else ()
    values = step.fill(inputs)[0][:2]
    return [(value, isinstance(symbol, keras.KerasTensor)) for value, symbol in zip(values, symbolic, strict=True)]


def _constant(step, value, outputs, inputs):
    value = ops.cast(ops.convert_to_tensor(value), outputs.dtype)
    if len(value.shape) >= len(inputs[0].shape) and value.shape[0] != 1:
        raise NotDynamicLinearError(
            f"{step} combines images with a constant that has a batch axis. Expected: the same constant for all "
            f"images. Received: shape {tuple(value.shape)}"
        )
    return value


def _sum(step, inputs, sign):
    outputs, operands = step(inputs), _operands(step, inputs)
    joins.require_floats(step, outputs)
    factors = [factor for factor, (_, depends) in zip((1.0, sign), operands, strict=True) if depends]
    constants = [
        factor * _constant(step, value, outputs, inputs)
        for factor, (value, depends) in zip((1.0, sign), operands, strict=True)
        if not depends
    ]
    return joins.weighted_sum(step, outputs, inputs, factors, constants[0] if constants else None)


def _check(step, inputs):
    """Raise an error where an operation's arguments make it move numbers along the batch axis, or add constants."""
    operation, rank = step.operation, len(inputs.shape)
    refuse = None
    for name in ("axis", "axis1", "axis2", "source", "destination"):
        if hasattr(operation, name):
            axes = keras.tree.flatten(getattr(operation, name))
            # `expand_dims` counts the axes of its output, one more than those of its input.
            if any(axis is None or axis in (0, -rank) or (axis == -rank - 1) for axis in axes):
                refuse = f"{name}={getattr(operation, name)}"
    if hasattr(operation, "axes") and (operation.axes is None or operation.axes[0] not in (0, -rank)):
        refuse = f"axes={operation.axes}"
    if hasattr(operation, "newshape"):
        # The first axis stays the batch axis where the size of the others is unchanged.
        kept = operation.newshape[0] in (-1, None) and -1 not in operation.newshape[1:]
        sizes = inputs.shape[1:]
        if not kept or _product(operation.newshape[1:]) != _product(sizes):
            refuse = f"newshape={operation.newshape}"
    if hasattr(operation, "repeats") and not hasattr(operation, "axis"):
        repeats = operation.repeats
        if isinstance(repeats, int) or len(repeats) != rank or repeats[0] != 1:
            refuse = f"repeats={repeats}"
    if hasattr(operation, "pad_width"):
        value = step.arguments.kwargs.get("constant_values")
        widths = operation.pad_width
        if tuple(widths[0]) != (0, 0) or (operation.mode == "constant" and value not in (None, 0)):
            refuse = f"pad_width={widths}, constant_values={value}"
    if getattr(operation, "pad_to_aspect_ratio", False) and operation.fill_value:
        refuse = f"fill_value={operation.fill_value}"
    if type(operation).__name__ == "GetItem":
        key = step.arguments.args[1]
        entries = key if isinstance(key, (tuple, list)) else [key]
        whole_batch = isinstance(entries[0], slice) and entries[0] == slice(None)
        # Entries after an ellipsis index the last axes.
        if not whole_batch and not (entries[0] is Ellipsis and len(entries) <= rank):
            refuse = f"the index {key}"
    if refuse:
        raise NotDynamicLinearError(
            f"{step} has no linear map here with {refuse}. Expected: it leaves the batch axis, which comes first, "
            "as it is, and adds nothing."
        )


def _product(sizes):
    """The product of sizes, or `None` where one is unknown."""
    return None if None in sizes else math.prod(sizes)
