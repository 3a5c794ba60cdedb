"""Transfer of a trained network to other classes."""

import fnmatch
from collections.abc import Sequence

import keras
import numpy as np

from keras_coda.linear_maps import Graph

# The names of layers' arguments for the number of their outputs.
OUTPUTS = ("filters", "units")


def with_classes(model: keras.Model, classes: int | Sequence[str]) -> keras.Model:
    """A copy of a model for other classes: the last layer with weights is new, the others keep their weights.

    Frozen layers stay frozen, but for the new one.

    Args:
        model: a `CoDANet`, or a model of linear layers and DAU layers.
        classes: the new classes' names, or their number.

    Returns:
        A model like `model`, which stays as it is.

    Raises:
        ValueError: there are fewer than two classes, names are repeated, or the last layer with weights is no DAU
            layer, `Dense` or convolution.

    Example:

    >>> flowers = with_classes(model, ["daisy", "tulip"])
    """
    count = _count(classes)
    last = [layer for layer in Graph.of(model).operations if getattr(layer, "weights", None)][-1]
    argument = next((name for name in OUTPUTS if name in last.get_config()), None)
    if argument is None:
        raise ValueError(
            f"The last layer with weights must be a DAU layer, `Dense` or a convolution, to get other classes. "
            f"Received: the {type(last).__name__} {last.name!r}"
        )
    if hasattr(model, "filters"):
        config = model.get_config()
        others = (
            {"class_names": None if isinstance(classes, (int, np.integer)) else [*classes]}
            if "class_names" in config
            else {}
        )
        new = type(model).from_config({**config, "filters": [*config["filters"][:-1], count], **others})
    else:

        def cloned(layer):
            config = layer.get_config()
            return type(layer).from_config({**config, argument: count} if layer is last else config)

        new = keras.models.clone_model(model, clone_function=cloned, recursive=True)
    if not new.trainable:  # and so no layer of it, whatever its own setting
        new.trainable = True
        for layer in new.layers:
            layer.trainable = False
    for own, former in zip(Graph.of(new).operations, Graph.of(model).operations, strict=True):
        if former is last:
            own.trainable = True
        elif getattr(former, "weights", None):
            own.set_weights(former.get_weights())
    return new


def freeze(model: keras.Model, names: Sequence[str]) -> None:
    """Exclude some layers from training. Compile the model afterwards.

    Args:
        model: a Keras model. `trainable` of these layers is set to False.
        names: names of layers, or patterns such as "dau_*".

    Raises:
        ValueError: no layer is called so, or nothing would be left to train.

    Example:

    >>> freeze(model, ["dau_1", "dau_2"])
    """
    if isinstance(names, str):
        raise ValueError(f"Expected a list of layers' names. Received: {names!r}")
    layers = {layer.name: layer for layer in model.layers}
    chosen = {name: fnmatch.filter(layers, name) for name in names}
    unknown = [name for name, found in chosen.items() if not found]
    if unknown:
        raise ValueError(f"Expected names of layers, of {[*layers]}. Received: {unknown}")
    frozen = {name for found in chosen.values() for name in found}
    if frozen and not any(layer.trainable_weights for name, layer in layers.items() if name not in frozen):
        raise ValueError(f"At least one layer must stay trainable. Received: {[*names]} to freeze, which are all")
    for name in frozen:
        layers[name].trainable = False


def _count(classes):
    if isinstance(classes, (int, np.integer)) and not isinstance(classes, bool):
        count = int(classes)
    elif isinstance(classes, str) or len({*classes}) != len(classes):
        raise ValueError(f"`classes` must be a number, or names that differ. Received: {classes!r}")
    else:
        count = len(classes)
    if count < 2:
        raise ValueError(f"`classes` must be two at least. Received: {classes!r}")
    return count
