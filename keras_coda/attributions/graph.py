"""A model run with other operations in the place of some of them, along the graph that explanations walk."""

import keras

from keras_coda.linear_maps import Graph


def operations(model):
    """The operations of a Functional model from inputs to outputs: layers, and operations of `keras.ops`.

    Args:
        model: a Functional (or built Sequential) model.

    Returns:
        A list, in which each is once. Of nested models it has the operations instead of the models.
    """
    return Graph.of(model).operations


def run(model, inputs, replace):
    """The outputs of a Functional model, with nested models unrolled.

    Args:
        model: a Functional (or built Sequential) model.
        inputs: tensor, or list of tensors.
        replace: function of an operation of the graph (a layer, or an operation of `keras.ops`) that returns what is
            called in its place, or the operation itself.

    Returns:
        What the model returns.
    """
    outputs = Graph.of(model).run(keras.tree.flatten(inputs), replace)
    return outputs[0] if len(outputs) == 1 else outputs
