"""Load a preset, or its metadata."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_coda.backend.conventions import channels_last, fits, in_format, standardize_data_format
from keras_coda.linear_maps import Graph
from keras_coda.models import CoDANet, transfer
from keras_coda.presets import architecture, facts, files, names, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.files import CONFIG, FILES, METADATA, WEIGHTS

# Largest number of parameters of a preset that is loaded without its weights: 1 GiB of them, four times the paper's
# largest network.
MOST_UNTRAINED = 2**28


def metadata(preset: str | os.PathLike) -> dict[str, Any]:
    """The metadata of a preset: the content of its metadata.json.

    Args:
        preset: a name, the path of a folder, or "hf://user/repo", see `load`.

    Returns:
        A dict: format_version, name, description, dataset, classes (names, in the order of the logits), image_shape
        (without the batch axis; `None` for any size), value_range (of the pixels), data_format, results (as measured),
        parameters (their number), weights_file, weights_sha256, license, keras_coda_version and keras_version (the
        versions that wrote it). If the weights are in several files: weights_parts (their number). And config_sha256
        and metadata_sha256, the checksums of the content of config.json and of the other entries of metadata.json.

    Raises:
        PresetError: there is no such preset, or its metadata.json is missing, has another form or was altered.
        ImportError: the preset is on the Hub, and huggingface_hub is not installed.

    Example:

    >>> keras_coda.presets.metadata("xs_coda_digits")["classes"][3]
    '3'
    """
    return facts.read(names.resolve(preset, (METADATA,)))


def load(
    preset: str | os.PathLike,
    load_weights: bool = True,
    dtype: Any = None,
    *,
    classes: Sequence[str] | int | None = None,
    freeze: Sequence[str] = (),
    data_format: str | None = None,
) -> keras.Model:
    """Load a pretrained network, or a network for other classes that starts from it.

    Nothing in a preset is executed. Its architecture may only consist of `keras_coda`'s layers and of Keras' linear
    ones. Architecture, metadata and weights must have their SHA-256 checksums. (The oldest presets have a checksum of
    the weights alone.)

    Args:
        preset: a name from `list_presets`, the path of a folder that `save` wrote, or a repository on the Hugging Face
            Hub, "hf://user/repo" or "hf://user/repo@revision", which is downloaded once (extra `hub`). Weights of a
            name that are not in the package are downloaded, too. A name takes precedence over a folder of that name:
            write "./name" for the folder.
        load_weights: whether to load the weights. Without them the model has random weights.
        dtype: a dtype policy or its name for all layers, such as "mixed_bfloat16". Default: as saved.
        classes: names of other classes, or their number. The last layer with weights is then replaced by a new one with
            random weights; all others are kept. Default: the preset's classes.
        freeze: names of layers to exclude from training, or patterns such as "dau_*". Layers that were frozen when the
            preset was saved are so, too.
        data_format: "channels_last" or "channels_first", of the images that a `CoDANet` takes. Default: as saved.

    Returns:
        A `CoDANet`, or the other kind of Keras model that was saved. It is not compiled.

    Raises:
        ValueError: `classes` are less than two or repeat, no layer has a name in `freeze`, or `data_format` is neither
            or of another model than a `CoDANet`.
        PresetError: there is no such preset, or its weights are not released; a file is missing, was altered or does
            not fit the others; a weight is not finite; the architecture holds what a preset must not hold; or the
            download fails.
        ImportError: the preset is on the Hub, and huggingface_hub is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> explanation = model.explain(images)
    >>> model = keras_coda.presets.load("xs_coda_cifar10", classes=["daisy", "tulip"], freeze=["dau_1", "dau_2"])
    """
    model = _loaded(preset, load_weights, dtype)
    if data_format is not None:
        model = _in_format(model, standardize_data_format(data_format))
    if classes is not None:
        model = transfer.with_classes(model, classes)
    if freeze:
        transfer.freeze(model, freeze)
    return model


def _loaded(preset, load_weights, dtype):
    if not load_weights and names.is_untrained(preset):
        return names.untrained(preset, dtype)
    folder = names.resolve(preset, FILES if load_weights else (CONFIG, METADATA))
    expected = metadata(folder)
    config = folder / CONFIG
    text = _config(config, expected)
    if not load_weights:
        if expected["parameters"] > MOST_UNTRAINED:
            raise PresetError(
                f"{folder / METADATA} says {expected['parameters']:,} parameters. "
                f"Expected for a model without weights: at most {MOST_UNTRAINED:,}"
            )
        return _untrained(text, config, dtype, expected)
    with weights.whole(folder, expected) as file:
        model = _untrained(text, config, dtype, expected, zeros=True)
        try:
            weights.check_plain(file)
            model.load_weights(file)
        except Exception as error:  # h5py and Keras raise errors of many types
            raise PresetError(f"{folder / WEIGHTS} does not fit {config}: {error}") from error
    # Another process may have saved here since the checksum was compared.
    if metadata(folder)["weights_sha256"] != expected["weights_sha256"]:
        raise PresetError(f"{folder} was replaced while it was loaded. Load it again.")
    check_finite(model, f" of {folder}")
    return model


def _in_format(model, data_format):
    """The network for images of a data format. The weights are the same in both."""
    if not isinstance(model, CoDANet):
        raise ValueError(f"`data_format` is for a `CoDANet`. Received: a preset with a {type(model).__name__}")
    if model.data_format == data_format:
        return model
    shape = in_format(channels_last(model.image_shape, model.data_format), data_format)
    new = CoDANet.from_config({**model.get_config(), "data_format": data_format, "image_shape": shape})
    new.set_weights(model.get_weights())
    return new


def _config(path, expected):
    """The text of a config.json, which must have the checksum in the metadata `expected`."""
    text = files.read(path)
    content = files.parse(text, path)
    promised = expected.get(facts.CONFIG_SUM)
    if promised is not None and files.digest(content) != promised:
        raise PresetError(
            f"{path} is not the one that the preset was saved with. Expected SHA-256 of its content: {promised}. "
            f"Found: {files.digest(content)}"
        )
    return text


def _untrained(text, config, dtype, expected, zeros=False):
    """The network that `text`, the content of the file `config`, describes. It must fit the metadata `expected`."""
    model = architecture.deserialize(text, config, dtype, expected["parameters"], zeros)
    classes = model.output_shape[-1]
    if classes != len(expected["classes"]):
        raise PresetError(
            f"{config} describes a model of {model.count_params()} parameters and {classes} classes. "
            f"Expected from {METADATA} beside it: {expected['parameters']} and {len(expected['classes'])}"
        )
    shape, data_format = expected["image_shape"], expected["data_format"]
    if not fits(model.input_shape[1:], shape) or data_format != data_format_of(model):
        raise PresetError(
            f"{config} describes a model of images {model.input_shape[1:]}, {data_format_of(model)}. "
            f"Expected from {METADATA} beside it: {tuple(shape)}, {data_format}"
        )
    if isinstance(model, CoDANet):
        _set_facts(model, expected)
    return model


def data_format_of(model: keras.Model) -> str | None:
    """The data format of a model's first layer that has one."""
    operations = (step.operation for step in Graph.of(model).steps)
    return next((operation.data_format for operation in operations if hasattr(operation, "data_format")), None)


def _set_facts(model, expected):
    """Set the class names and the image size of a `CoDANet` from its metadata, if its config has none."""
    class_names, shape = expected["classes"], expected["image_shape"]
    if model.class_names is None and len({*class_names}) == len(class_names):
        model.class_names = class_names
    size = [*channels_last(shape, model.data_format)[:2]]
    if model.image_size is None and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        model.image_size = size


def check_finite(model: keras.Model, of: str = "") -> None:
    """Raise a `PresetError` if a weight is not finite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight).astype("float64")).all():
            raise PresetError(f"The weight {weight.path!r}{of} has NaN or infinite values. Expected: finite weights.")
