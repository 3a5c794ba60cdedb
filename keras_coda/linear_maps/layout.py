"""The channel axis of an image in a model, told by the layers around it."""

from keras_coda.backend.conventions import standardize_data_format
from keras_coda.linear_maps.known import AUGMENTATION, known

_FORMATS = (None, "channels_first", "channels_last")
_PERMUTING = ("Permute", "Transpose", "Moveaxis", "Swapaxes")
_RESHAPING = ("Reshape", "Flatten", "ExpandDims", "Squeeze", "GetItem", "Ravel")


def channel_axis(graph, number: int) -> int:
    """The channel axis of the tensor `number`, a batch of images: 1 or 3, or 2 after a permutation.

    It is that of the nearest layer with a `data_format`: first those up to the tensor, then those after it.
    Permutations in between are followed. Without such a layer, it is that of Keras' setting.
    """
    identity = [0, 1, 2, 3]
    axis = _before(graph, number, identity)
    if axis is None:
        axis = _after(graph, number, identity)
    return _axis(None) if axis is None else axis


def data_format(graph, number: int) -> str:
    """The data format of the tensor `number`, a batch of images: "channels_first" or "channels_last"."""
    return "channels_first" if channel_axis(graph, number) == 1 else "channels_last"


def _before(graph, number, order):
    """The channel axis by the layers before; `order[i]` is the axis of tensor `number` that is the image's axis i."""
    step = next((step for step in graph.steps if number in step.results), None)
    if step is None:
        return None
    axis = _told_by(step.operation)
    if axis is not None:
        return order.index(axis)
    permutation = _permutation(step.operation)
    if permutation is None:
        return None
    # Of several tensors, the first is the image, and the others are joined to it.
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
    # Keras gives every layer of augmentation a `data_format`, also those that treat all axes alike.
    # Users' own layers can have formats of other names.
    if known(operation) is AUGMENTATION or getattr(operation, "data_format", "") not in _FORMATS:
        return None
    return _axis(operation.data_format)


def _axis(data_format):
    return 1 if standardize_data_format(data_format) == "channels_first" else 3


def _permutation(operation):
    """The axes that an operation's output axes 0 to 3 come from, or `None` where it reshapes."""
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
