"""The guess of the function from a model's outputs to probabilities: softmax, sigmoid, or none."""

from typing import Any

import keras

from keras_coda.layers import LogitScaling
from keras_coda.layers.dau import DAU
from keras_coda.linear_maps import Graph

# Functions that return probabilities, and the same as operations of `keras.ops`, which have no public classes.
_PROBABILITIES = tuple(
    getattr(module, name)
    for module in (keras.activations, keras.ops)
    for name in ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")
)
_PROBABILITY_OPERATIONS = ("Softmax", "Sigmoid", "HardSigmoid", "Sparsemax", "SparseSigmoid")
# Layers and operations that do not change values.
_PASSED = ("Reshape", "Flatten", "Squeeze", "ExpandDims", "Cast", "Copy", "Identity", "Dropout", "GetItem")


def activation_of(graph: Graph, classes: int) -> tuple[str, bool]:
    """The name of the function from outputs to probabilities, and whether it is known and not guessed.

    It is told by the last operation that changes values.
    """
    made_by = {number: step for step in graph.steps for number in step.results}
    # A softmax of one number is 1.
    usual = "softmax" if classes > 1 else "sigmoid"

    def of(number):
        step: Any = made_by.get(number)
        operation = None if step is None else step.operation
        if isinstance(operation, LogitScaling):
            return "sigmoid", True
        if _makes_probabilities(operation):
            return "linear", True
        if _changes_nothing(operation):
            return of(step.sources[0])
        if isinstance(operation, (keras.layers.Average, keras.layers.Concatenate)):
            # Several heads have one function if they all have it.
            found = {of(source) for source in step.sources}
            return found.pop() if len(found) == 1 else (usual, False)
        # Layers with weights and without an activation give logits.
        has_weights = isinstance(operation, (keras.layers.Dense, keras.layers.Conv2D, DAU))
        return usual, has_weights and getattr(operation, "activation", None) in (None, keras.activations.linear)

    return of(graph.outputs[0])


def _changes_nothing(operation):
    return type(operation).__name__ in _PASSED or (
        isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.linear
    )


def _makes_probabilities(operation):
    if isinstance(operation, keras.layers.Softmax):
        return True
    if not isinstance(operation, keras.Layer):
        return type(operation).__name__ in _PROBABILITY_OPERATIONS
    activation = getattr(operation, "activation", None)
    if isinstance(activation, keras.Layer):
        return _makes_probabilities(activation)
    return any(activation is function for function in _PROBABILITIES)
