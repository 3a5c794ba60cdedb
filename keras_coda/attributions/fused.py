"""A layer with another activation than its own."""

from keras_coda.linear_maps.views import view


def with_activation(layer, activation):
    """What computes as `layer` does with another activation; the layer itself stays as it is."""
    return view(layer, activation=activation)
