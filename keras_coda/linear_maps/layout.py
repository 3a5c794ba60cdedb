"""Which axis of an image in a model is that of its channels, as the layers around it take it."""

import keras

_PERMUTING = ("Permute", "Transpose", "Moveaxis", "Swapaxes")
_RESHAPING = ("Reshape", "Flatten", "ExpandDims", "Squeeze", "GetItem", "Ravel")


def channel_axis(graph, number):
    """The axis of channels of the tensor `number`, of images: 1, 3, or, after a permutation, 2.

    It is told by the `data_format` of a layer: of the one that makes the tensor or the last one before that, or else of
    the first one after. Permutations in between are followed. Default: as Keras is set.
    """
    identity = [0, 1, 2, 3]
    axis = _before(graph, number, identity)
    if axis is None:
        axis = _after(graph, number, identity)
    return _axis(None) if axis is None else axis


def _before(graph, number, order):
    """`order[i]` is the axis of the tensor `number` that became axis i of the one in question."""
    step = next((step for step in graph.steps if number in step.results), None)
    if step is None:
        return None
    axis = _told_by(step.operation)
    if axis is not None:
        return order.index(axis)
    permutation = _permutation(step.operation)
    if permutation is None:
        return None
    # The first tensor is the image; what is joined to it, such as a scale, comes after.
    return _before(graph, step.sources[0], [permutation[axis] for axis in order])


def _after(graph, number, order):
    for step in graph.steps:
        if number not in step.sources:
            continue
        axis = _told_by(step.operation)
        if axis is not None:
            return order.index(axis)
        permutation = _permutation(step.operation)
        if permutation is not None:
            found = _after(graph, step.results[0], [permutation.index(axis) for axis in order])
            if found is not None:
                return found
    return None


def _told_by(operation):
    return _axis(operation.data_format) if hasattr(operation, "data_format") else None


def _axis(data_format):
    return 1 if (data_format or keras.config.image_data_format()) == "channels_first" else 3


def _permutation(operation):
    """Which axes of an image become its axes 0 to 3, or `None` where they do not stay axes."""
    name, identity = type(operation).__name__, [0, 1, 2, 3]
    if name in _RESHAPING:
        return None
    if name not in _PERMUTING:
        return identity
    if name == "Permute":
        permutation = [0, *operation.dims]
    elif name == "Transpose":
        permutation = list(operation.axes or identity[::-1])
    elif name == "Swapaxes":
        permutation = list(identity)
        first, second = operation.axis1, operation.axis2
        permutation[first], permutation[second] = permutation[second], permutation[first]
    else:
        moved = dict(zip((d % 4 for d in operation.destination), (s % 4 for s in operation.source), strict=True))
        others = iter(axis for axis in identity if axis not in moved.values())
        permutation = [moved[axis] if axis in moved else next(others) for axis in identity]
    return [axis % 4 for axis in permutation] if len(permutation) == 4 else None
