"""A model's operations, and runs of a model in which some operations are replaced."""

from collections.abc import Callable
from typing import Any

import keras

from keras_coda.linear_maps import Graph


def operations(model: keras.Model) -> list[keras.Operation]:
    """The operations of a model from inputs to outputs: layers, and operations of `keras.ops`.

    Args:
        model: a Functional (or built Sequential) model.

    Returns:
        A list without repetitions. Nested models are replaced by their operations.
    """
    return Graph.of(model).operations


def run(model: keras.Model, inputs: Any, replace: Callable) -> Any:
    """The outputs of a Functional model, with nested models unrolled.

    Args:
        model: a Functional (or built Sequential) model.
        inputs: tensor, or list of tensors.
        replace: function of an operation (a layer, or an operation of `keras.ops`) that returns the function to call in
            its place, or the operation itself.

    Returns:
        A tensor, or a list of tensors for several outputs.
    """
    outputs = Graph.of(model).run(keras.tree.flatten(inputs), replace)
    return outputs[0] if len(outputs) == 1 else outputs
