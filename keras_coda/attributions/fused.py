"""The activation inside a layer, replaced for one call."""


def with_activation(layer, activation):
    """A function that calls `layer` with another activation in the place of its own, which it has again afterwards."""

    def call(*args, **kwargs):
        own = layer.activation
        layer.activation = activation
        try:
            return layer(*args, **kwargs)
        finally:
            layer.activation = own

    return call
