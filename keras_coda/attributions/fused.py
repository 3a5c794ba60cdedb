"""The activation inside a layer, replaced without a change of the layer."""


def with_activation(layer, activation):
    """A layer that computes with another activation, on the variables of `layer`, which stays as it is.

    Args:
        layer: a layer with an attribute `activation`.
        activation: function of a tensor.

    Returns:
        A layer of the same class. It shares all that `layer` has, so use it for calls alone.
    """
    # Not `copy.copy`, for which Keras saves and loads the layer with its weights.
    view = object.__new__(type(layer))
    view.__dict__.update(layer.__dict__)
    view.__dict__["activation"] = activation
    return view
