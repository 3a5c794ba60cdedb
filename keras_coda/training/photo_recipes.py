"""Recipes for folders of photos."""

import dataclasses
import math
import os
from typing import Any

from keras_coda import presets
from keras_coda.backend.conventions import channels_last, fits
from keras_coda.data import Photos
from keras_coda.models import CoDANet
from keras_coda.recipes import Recipe

# The layers before the last one, by the least number of pixels on the shorter side. The first is that of
# xs_coda_cifar10. The others have strides with which about as many positions are left at the end.
_NETWORKS = {
    0: {"filters": [16, 32, 32, 48, 48], "kernel_sizes": [4, 3, 4, 3, 3], "strides": [2, 1, 2, 1, 1]},
    48: {"filters": [16, 32, 32, 48, 48, 64], "kernel_sizes": [4, 3, 4, 3, 4, 3], "strides": [2, 1, 2, 1, 2, 1]},
    96: {"filters": [16, 32, 32, 48, 48, 64], "kernel_sizes": [8, 3, 4, 3, 4, 3], "strides": [4, 1, 2, 1, 2, 1]},
}
_TEMPERATURE = 1000.0
# A network that is trained already loses what it has learnt at the rate of one that is not (docs/photos.md).
_RATE, _RATE_OF_A_START = 0.02, 0.005
# Epochs are chosen so that training sees about this many photos in total, within a least and a largest number.
_SEEN, _FEWEST, _MOST = 60_000, 10, 100
# From this number of photos on, batches of 128 leave enough steps in an epoch.
_LARGE = 10_000
# Arguments of the network that a recipe takes from the preset it starts from.
_OF_THE_START = (
    "filters",
    "kernel_sizes",
    "ranks",
    "strides",
    "temperature",
    "logit_bias",
    "rescaling",
    "use_bias",
    "add_negative",
)


def recipe_for_photos(photos: Photos, start: str | os.PathLike | None = None, name: str | None = None) -> Recipe:
    """A recipe for a folder of photos, chosen by their size and number. It is meant as a draft to edit.

    The network is small, for training on a CPU or a small GPU. Training sees about 60,000 photos in total, in 10 to 100
    epochs, with random crops and flips.

    Args:
        photos: a `keras_coda.data.Photos`.
        start: a preset to start from, see `keras_coda.presets.load`. Its network and image shape are used. Default: a
            network with random weights.
        name: name of the preset to train. Default: the name of the folder.

    Returns:
        A `keras_coda.recipes.Recipe`.

    Raises:
        ValueError: the preset is no `CoDANet`, or its image shape is not that of `photos`.

    Example:

    >>> recipe = recipe_for_photos(keras_coda.data.Photos("photos/"))
    >>> keras_coda.train(recipe, "my_photos")  # doctest: +SKIP
    """
    height, width, _ = photos.image_shape
    side, count = min(height, width), len(photos.parts["train"][1])
    origin = ""
    if start is None:
        layers = _NETWORKS[max(least for least in _NETWORKS if side >= least)]
        model: dict[str, Any] = {**layers, "temperature": _TEMPERATURE}
        model["ranks"] = [8, 8, 8] + [16] * (len(model["filters"]) - 2)
        for argument, last in (("filters", len(photos.classes)), ("kernel_sizes", 1), ("strides", 1)):
            model[argument] = [*model[argument], last]
    else:
        model = _network_of(start, len(photos.classes))
        origin = f", from {presets.metadata(start)['name']}"
        shape = start_shape(start)
        if not fits(shape, photos.image_shape):
            raise ValueError(
                f"{start} is for images of {shape}. Expected: Photos(folder, image_shape={shape}). "
                f"Received: {photos.image_shape}"
            )
    return Recipe(
        **_of_folder(photos, name),
        description=f"Photos of {len(photos.classes)} classes{origin}.",
        model=model,
        learning_rate=_RATE if start is None else _RATE_OF_A_START,
        batch_size=128 if count >= _LARGE else 32,
        epochs=min(max(math.ceil(_SEEN / count), _FEWEST), _MOST),
        optimizer={"name": "keras_coda>Muon", "weight_decay": 0.3},
        schedule={"decay": "linear"},
        augmentation={"flip": True, "crop_padding": max(1, side // 16)},
    )


def adapted(recipe: Recipe, photos: Photos) -> Recipe:
    """A recipe for other data, for a folder of photos."""
    model = dict(recipe.model)
    if "filters" in model:
        model["filters"] = [*model["filters"][:-1], len(photos.classes)]
    description = f"Photos of {len(photos.classes)} classes, by the recipe {recipe.name}."
    return dataclasses.replace(recipe, **_of_folder(photos), description=description, model=model)


def _of_folder(photos, name=None):
    """What every recipe takes from the folder."""
    name = photos.folder.resolve().name if name is None else name
    return {
        "name": name.replace(" ", "_"),
        "dataset": f"{photos.folder}/",
        "image_shape": list(photos.image_shape),
    }


def start_shape(preset):
    """The image shape of a preset, `(H, W, C)`."""
    facts = presets.metadata(preset)
    return channels_last(facts["image_shape"], facts["data_format"])


def _network_of(preset, classes):
    model = presets.load(preset, load_weights=False)
    if not isinstance(model, CoDANet):
        raise ValueError(f"Expected a preset of a CoDANet to start from. Received: {preset}, a {type(model).__name__}")
    config = model.get_config()
    arguments = {key: config[key] for key in _OF_THE_START}
    return {**arguments, "filters": [*arguments["filters"][:-1], classes]}
