"""A model as the chain of its layers, and the product of their matrices (paper, eq. 6 and 7)."""

import keras

from keras_coda.linear_maps.linear_map import identity
from keras_coda.linear_maps.rules import NotDynamicLinearError, describe, linear_map


def chain(model):
    """The layers of a built Sequential or Functional model in the order they are applied, nested models unrolled.

    Raises:
        NotDynamicLinearError: the model is not a chain: it has several inputs or outputs, joins branches, or is a
            subclassed model without a method `linear_map`.
    """
    is_chain = isinstance(model, keras.Sequential) or (
        isinstance(model, keras.Model) and getattr(model, "inputs", None)
    )
    if is_chain and not model.built:
        raise NotDynamicLinearError(
            f"Model {model.name!r} is not built, so that its layers have no weights yet. Expected: a built model; give "
            "it an `Input` or call it on images."
        )
    if isinstance(model, keras.Sequential):
        applied = model.layers
    elif is_chain:
        applied = _applied(model)
    elif isinstance(model, keras.Model) and not hasattr(model, "linear_map"):
        raise NotDynamicLinearError(
            f"Model {model.name!r} ({type(model).__name__}) does not show its layers. Expected: a Sequential or "
            "Functional model, built, or one with a method `linear_map(inputs)`."
        )
    else:
        return [model]
    return [layer for part in applied for layer in chain(part)]


class AppliedOperation:
    """A plain operation of a Functional model, such as `x / 255`, with the arguments it has there."""

    def __init__(self, operation, node):
        self.operation = operation
        self.node = node
        self.name = operation.name
        self.class_name = type(operation).__name__

    def __eq__(self, other):
        return isinstance(other, AppliedOperation) and self.node is other.node

    def __hash__(self):
        return id(self.node)

    def _with(self, inputs):
        return self.node.arguments.fill_in({id(self.node.input_tensors[0]): inputs})

    def __call__(self, inputs):
        args, kwargs = self._with(inputs)
        return self.operation(*args, **kwargs)

    def compute_output_spec(self, inputs):
        args, kwargs = self._with(inputs)
        return self.operation.compute_output_spec(*args, **kwargs)


def _applied(model):
    """The operations between the input and the output of a Functional model."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise NotDynamicLinearError(
            f"Model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs. "
            "Expected: one of each. For a model with several heads, make a `keras.Model` of the one to explain."
        )
    applied, tensor = [], model.outputs[0]
    while tensor is not model.inputs[0]:
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        sources = node.input_tensors
        if len(sources) != 1:
            raise NotDynamicLinearError(
                f"Model {model.name!r} is not a chain of layers: the {describe(operation)} takes "
                f"{len(sources)} tensors. Expected: one for every layer."
            )
        applied.append(operation if isinstance(operation, keras.Layer) else AppliedOperation(operation, node))
        tensor = sources[0]
    return applied[::-1]


def linear_map_through(layers, inputs):
    """The outputs of a chain of layers, and the product of their matrices W_L(a_{L-1}) ... W_1(a_0) (paper, eq. 7).

    Args:
        layers: layers in the order they are applied, as from `chain`.
        inputs: tensor a_0, with a batch axis.

    Returns:
        `(outputs, W)`, with `outputs = W @ inputs`, plus `W.offset` where the last layer adds a bias.

    Raises:
        NotDynamicLinearError: a layer is not dynamic linear, or one before the last adds a bias.
    """
    outputs, W = inputs, identity()
    for position, layer in enumerate(layers):
        if W.offset is not None:
            raise NotDynamicLinearError(
                f"The {describe(layers[position - 1])} adds a bias in the middle of the model, "
                "which no input contributes. Expected: a bias in the last layer alone."
            )
        outputs, step = linear_map(layer, outputs)
        W = step @ W
    return outputs, W
