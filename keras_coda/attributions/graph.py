"""A Functional model's operations, and the model run with others in the place of some of them."""

import keras


def operations(model):
    """The operations of a Functional model from inputs to outputs: layers, and operations of `keras.ops`.

    Args:
        model: a Functional (or built Sequential) model.

    Returns:
        A list. Of nested models it has the operations instead of the models.
    """
    found: list = []
    for operation in _functional(model).operations:
        found += operations(operation) if _is_nested(operation) else [operation]
    return found


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

    def operation_fn(operation):
        if _is_nested(operation):
            return lambda nested, **kwargs: run(operation, nested, replace)
        return replace(operation)

    # What `keras.Model.call` does with the layers themselves.
    outputs = _functional(model)._run_through_graph(inputs, operation_fn=operation_fn)
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def _is_nested(operation):
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def _functional(model):
    return keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
