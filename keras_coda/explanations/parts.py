"""The split of a model at the sources of an explanation."""

from typing import Any

import keras

from keras_coda.linear_maps import Graph, NotDynamicLinearError

_ORDER = (
    "`source` must come before `layer`. Received: source={}, layer={} in {}. "
    "Expected: every path from the model's inputs to `layer` passes a source."
)


def split(model: keras.Model, graph: Graph, layer: Any, source: Any) -> tuple[Graph, Graph]:
    """Split a model into the part that computes the sources of an explanation, and the part that is explained.

    Args:
        model: a Keras model.
        graph: its `Graph`.
        layer: the layer whose outputs are explained, or its name. `None`: the model's output.
        source: the layer whose outputs contribute, or its name, or a list of them. `None`: each `InputEncoding` and
            `ContributionSource`, and inputs that pass through neither.

    Returns:
        `(before, explained)`, two graphs.

    Raises:
        ValueError: `layer` or `source` is not in the model, not every path passes through `source`, or a source in a
            list is there twice or does not contribute.
        NotDynamicLinearError: the model has several outputs, and `layer` chooses none.
    """
    if layer is None:
        if len(graph.outputs) != 1:
            names = {number: step.name for step in graph.steps for number in step.results}
            heads = [names[number] for number in graph.outputs if number in names]
            raise NotDynamicLinearError(
                f"Model {model.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs. Expected: one "
                f"output. Choose one by `layer`, the layer that computes it: one of {heads}."
            )
        outputs = graph.outputs
    else:
        outputs = _uses(graph, layer, "layer")[-1].results[:1]
    if source is None:
        before, explained = graph.between(lambda step: is_source(step.operation), outputs)
        if not explained.steps:
            raise ValueError(_ORDER.format(names_of(source), names_of(layer), [step.name for step in graph.steps]))
        return before, explained
    sources = source if isinstance(source, (list, tuple)) else [source]
    of_each = [_uses(graph, one, "source") for one in sources]
    uses = [step for steps in of_each for step in steps]
    before, explained = graph.between(lambda step: step in uses and step.results[0] not in outputs, outputs)
    past = [number for number in explained.inputs if number in graph.inputs]
    if past:
        raise ValueError(_ORDER.format(names_of(source), names_of(layer), [step.name for step in graph.steps]))
    tensors = [[n for step in steps for n in step.results if n in explained.inputs] for steps in of_each]
    if not all(tensors) or sum(map(len, tensors)) != len(explained.inputs):
        unused = [names_of(one) for one, found in zip(sources, tensors, strict=True) if not found]
        raise ValueError(
            "`source` must list each layer once, and each must contribute to `layer` without passing another one. "
            f"Received: source={names_of(source)}" + (f", of which {unused} do not contribute" if unused else "")
        )
    # In the order of `source`, not of the model.
    explained.inputs = [number for found in tensors for number in found]
    before.outputs = list(explained.inputs)
    return before, explained


def is_source(operation: keras.Operation) -> bool:
    """Whether a layer's outputs contribute by default: those of an `InputEncoding` or a `ContributionSource`."""
    return getattr(operation, "is_source", False)


def _uses(graph, layer, argument):
    uses = [step for step in graph.steps if step.operation is layer or (isinstance(layer, str) and step.name == layer)]
    if not uses:
        found = [step.name for step in graph.steps]
        raise ValueError(f"`{argument}` must be one of {found}. Received: {names_of(layer)!r}")
    if len({id(step.operation) for step in uses}) > 1:
        raise ValueError(
            f"`{argument}` must be the layer itself where several have its name, as in models within models. Received: "
            f"{layer!r}, the name of {len(uses)} layers"
        )
    return uses


def key_of(layer):
    """A layer, a name, or a list of them, as a key. What is neither is no layer of any model, and needs no key."""
    if isinstance(layer, (list, tuple)):
        return tuple(key_of(one) for one in layer)
    return layer if layer is None or isinstance(layer, (str, keras.Operation)) else repr(layer)


def names_of(layer):
    """The name of a layer, or of each layer in a list. Names are returned as they are."""
    if isinstance(layer, (list, tuple)):
        return [names_of(one) for one in layer]
    return getattr(layer, "name", layer)
