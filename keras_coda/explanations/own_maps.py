"""The comparison of the maps of users' own layers with what the layers compute."""

import keras
import numpy as np
from keras import ops

from keras_coda.linear_maps import Graph, NotDynamicLinearError
from keras_coda.linear_maps.known import LAYERS
from keras_coda.linear_maps.steps import describe

# The largest difference between `call` and `linear_map`, relative to the largest output.
_TOLERANCE = {"float64": 1e-5, "float32": 1e-3}
_TOLERANCE_OF_OTHERS = 0.05


def compare(before: Graph, explained: Graph, images: list, piecewise_linear: bool = False) -> None:
    """Compare the linear maps and the calls of layers that are neither Keras' nor of this package.

    Args:
        before, explained: the two graphs of `parts.split`.
        images: list with an array of a few images for each input.
        piecewise_linear: see `Explainer`.

    Raises:
        NotDynamicLinearError: the outputs of a layer's `linear_map` are not those of the layer.
    """
    last = max((i for i, step in enumerate(explained.steps) if not _is_certain(step.operation)), default=None)
    if last is None:
        return
    sources = before.run([ops.convert_to_tensor(array) for array in images])
    values = dict(zip(explained.inputs, sources, strict=True))
    for step in explained.steps[: last + 1]:
        tensors = [values[number] for number in step.sources]
        outputs = step(tensors)
        if not _is_certain(step.operation):
            mapped, _ = step.linear_map(tensors, piecewise_linear)
            _require_equal(step.operation, outputs, mapped)
        values.update(zip(step.results, keras.tree.flatten(outputs), strict=True))


def _is_certain(operation):
    """Whether a layer's map needs no check: it is Keras' or of this package."""
    if not hasattr(operation, "linear_map"):
        # Of the table's entries, only those that users added are checked. Without an entry, a layer is refused.
        entry = next((cls for cls in type(operation).__mro__ if cls in LAYERS), keras.Layer)
        return entry.__module__.split(".")[0] == "keras"
    patched = {"call", "__call__", "linear_map"} & set(vars(operation))
    return type(operation).__module__.split(".")[0] == "keras_coda" and not patched


def _require_equal(layer, outputs, mapped):
    outputs, mapped = (np.asarray(ops.convert_to_numpy(ops.cast(v, "float32")), "float64") for v in (outputs, mapped))
    dtype = getattr(layer, "compute_dtype", "float32")
    largest = np.abs(outputs).max(initial=0.0)
    difference = np.inf if outputs.shape != mapped.shape else np.abs(outputs - mapped).max(initial=0.0)
    if not difference <= _TOLERANCE.get(dtype, _TOLERANCE_OF_OTHERS) * largest:
        raise NotDynamicLinearError(
            f"The {describe(layer)} computes something else than its `linear_map`, so that an explanation would be "
            f"wrong. Expected: equal outputs. Received: shapes {outputs.shape} and {mapped.shape}, with a largest "
            f"difference of {difference:.3g}, where the largest output is {largest:.3g}"
        )
