"""Layers with other settings than their own, which leave the layers as they are."""


def view(layer, **attributes):
    """A layer that shares everything with `layer`, its weights included, except for some attributes.

    Nothing of `layer` is changed, so that other threads may use it at the same time.

    Args:
        layer: a built Keras layer.
        **attributes: what the new layer has instead, such as `activation`.

    Returns:
        A layer of the same class. It is for calls only: it is in no model, and cannot be saved.

    Example:

    >>> without = view(dense, activation=keras.activations.linear)
    """
    # Not `copy.copy`, which Keras' layers answer by saving themselves and loading what they saved.
    seen = object.__new__(type(layer))
    # Not `setattr`, by which Keras and PyTorch would put the new values into registers that both layers share.
    vars(seen).update(vars(layer), **attributes)
    return seen
