"""A Functional model run with other operations in the place of some of its own."""

import keras


def run(model, inputs, replace):
    """The outputs of a Functional model, with nested models unrolled.

    Args:
        model: a Functional (or built Sequential) model.
        inputs: tensor, or list of tensors.
        replace: function of an operation of the graph (a layer, or an operation of `keras.ops`) that returns what is called
            in its place, or the operation itself.

    Returns:
        What the model returns.
    """

    def operation_fn(operation):
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            return lambda nested, **kwargs: run(operation, nested, replace)
        return replace(operation)

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)
    # What `keras.Model.call` does with the layers themselves.
    outputs = model._run_through_graph(inputs, operation_fn=operation_fn)
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs
