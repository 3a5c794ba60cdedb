"""Deprecated: the layers of a model that is a chain. `keras_coda.linear_maps.linear_map` takes any graph."""

import warnings

import keras

from keras_coda.linear_maps.graph import Graph
from keras_coda.linear_maps.linear_map import NotDynamicLinearError
from keras_coda.linear_maps.steps import describe


def chain(model: keras.Model) -> list[keras.Operation]:
    """The layers of a built model in the order in which they are applied, with nested models unrolled.

    Deprecated: use `linear_map(model, inputs)`, which takes all graphs.

    Args:
        model: a built Sequential or Functional model.

    Returns:
        A list of layers and operations. One that is used twice is there twice.

    Raises:
        NotDynamicLinearError: the model is not a chain: it has several inputs or outputs, joins branches, or is a
            subclassed model without a method `linear_map`.
    """
    message = "`chain` is deprecated: use `keras_coda.linear_maps.linear_map(model, inputs)`."
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    graph = Graph.of(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise NotDynamicLinearError(
            f"Model {model.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs. "
            "Expected: one of each. For a model with several heads, make a `keras.Model` of the one to explain."
        )
    for step in graph.steps:
        if len(step.sources) != 1:
            raise NotDynamicLinearError(
                f"Model {model.name!r} is not a chain of layers: the {describe(step.operation)} takes "
                f"{len(step.sources)} tensors. Expected: one for every layer."
            )
    return [step.operation for step in graph.steps]
