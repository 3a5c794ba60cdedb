"""Presets as folders of plain data: the architecture, the weights, and what is to be known of them."""

import pathlib
import shutil
import uuid

import keras
import numpy as np

from keras_coda.files import sha256
from keras_coda.linear_maps import Graph
from keras_coda.models import CoDANet, transfer
from keras_coda.presets import architecture, facts, known, plain, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.handle import at_hand, resolve
from keras_coda.version import __version__

# Bytes, for all that is not weights.
SPARE = 2**20

# Parameters that a preset gets without showing weights for them: 1 GiB, four times the paper's largest network.
MOST_UNTRAINED = 2**28

CONFIG, WEIGHTS, METADATA = FILES = ("config.json", facts.WEIGHTS, "metadata.json")
WEIGHTS_DTYPES = ("float32", "float16")


def metadata(preset):
    """What is to be known of a preset with weights, its metadata.json.

    Args:
        preset: a name, the path of a folder, or "hf://user/repo", see `load`.

    Returns:
        A dict: format_version, name, description, dataset, classes (names, in the order of the logits), image_shape
        (without the batch axis; `None` for any size), value_range (of the pixels), data_format, results (as measured),
        parameters (their number), weights_file, weights_sha256, license, keras_coda_version and keras_version (that
        wrote it), weights_parts (their number) where the weights are in several files, and config_sha256 and
        metadata_sha256, the checksums of the contents of config.json and of all else that is in metadata.json.

    Raises:
        PresetError: there is no such preset, or its metadata.json is missing, not of this form, or not as it was
            written.
        ImportError: the preset is on the Hub, and huggingface_hub is not installed.

    Example:

    >>> keras_coda.presets.metadata("xs_coda_digits")["classes"][3]
    '3'
    """
    folder = resolve(preset, (METADATA,))
    return facts.parse(plain.read(folder / METADATA, FILES), folder / METADATA)


def load(preset, load_weights=True, dtype=None, *, classes=None, freeze=()):
    """A pretrained network, or one for classes of your own that starts from it.

    Nothing in a preset is executed. Its architecture may consist of `keras_coda`'s layers and Keras' linear ones alone.
    Its architecture, its metadata and its weights must be as they were written, by their SHA-256. (Presets written
    before there were checksums of the first two have that of the weights alone.)

    Args:
        preset: a name that `list_presets` gives, the path of a folder that `save` wrote, or a repository on the
            Hugging Face Hub, "hf://user/repo" or "hf://user/repo@revision", which is downloaded once (extra `hub`); so
            are the weights of a name that are not in the package. A name comes before a folder of that name: write
            "./name" for the folder.
        load_weights: whether to load the weights. Without them the model is untrained.
        dtype: a dtype policy or its name for all layers, such as "mixed_bfloat16". Default: as saved.
        classes: names of other classes, or their number. All layers are kept but for the last one with weights, which
            is new and untrained. Default: the preset's classes.
        freeze: names of layers that training is to leave as they are, or patterns such as "dau_*".

    Returns:
        A Keras model, not compiled: a `CoDANet`, or what was saved.

    Raises:
        ValueError: `classes` are not two different ones at least, or there is no layer to freeze of that name.
        PresetError: there is no such preset, its weights are not released, a file of it is missing, is not as it was
            written or does not fit the others, its weights are not finite, or its architecture holds what no preset
            may hold; or the Hub does not give it.
        ImportError: the preset is on the Hub, and huggingface_hub is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> explanation = model.explain(images)
    >>> model = keras_coda.presets.load("xs_coda_cifar10", classes=["daisy", "tulip"], freeze=["dau_1", "dau_2"])
    """
    model = _loaded(preset, load_weights, dtype)
    if classes is not None:
        model = transfer.with_classes(model, classes)
    if freeze:
        transfer.freeze(model, freeze)
    return model


def _loaded(preset, load_weights, dtype):
    if not load_weights and isinstance(preset, str) and preset in known.KNOWN and preset not in at_hand():
        return known.untrained(preset, dtype)
    folder = resolve(preset, FILES if load_weights else (CONFIG, METADATA))
    expected = metadata(folder)
    config = folder / CONFIG
    text = _config(config, expected)
    if not load_weights:
        if expected["parameters"] > MOST_UNTRAINED:
            raise PresetError(
                f"{folder / METADATA} says {expected['parameters']:,} parameters, of which no weights are to be read. "
                f"Expected: at most {MOST_UNTRAINED:,}"
            )
        return _untrained(text, config, dtype, expected)
    with weights.whole(folder, expected) as file:
        model = _untrained(text, config, dtype, expected)
        try:
            weights.check_plain(file)
            model.load_weights(file)
        except Exception as error:  # h5py and Keras raise all kinds
            raise PresetError(f"{folder / WEIGHTS} does not fit {config}: {error}") from error
    _check_finite(model, f" of {folder}")
    return model


def _config(path, expected):
    """The text of a config.json, which must be the one that the metadata `expected` was written for."""
    text = plain.read(path, FILES)
    content = plain.parse(text, path)
    promised = expected.get(facts.CONFIG_SUM)
    if promised is not None and plain.digest(content) != promised:
        raise PresetError(
            f"{path} is not the one that the preset was saved with. Expected SHA-256 of its content: {promised}. "
            f"Found: {plain.digest(content)}"
        )
    return text


def _untrained(text, config, dtype, expected):
    """The network of `text`, the content of the file `config`, which must be what the metadata `expected` say."""
    model = architecture.deserialize(text, config, dtype, expected["parameters"])
    parameters, classes = model.count_params(), model.output_shape[-1]
    if (parameters, classes) != (expected["parameters"], len(expected["classes"])):
        raise PresetError(
            f"{config} describes a model of {parameters} parameters and {classes} classes. "
            f"Expected from {METADATA} beside it: {expected['parameters']} and {len(expected['classes'])}"
        )
    if isinstance(model, CoDANet):
        _tell(model, expected)
    return model


def _tell(model, expected):
    """Give a `CoDANet` the names of classes and the size of images in its metadata, where its config has none."""
    names, shape = expected["classes"], expected["image_shape"]
    if model.class_names is None and len({*names}) == len(names):
        model.class_names = names
    size = shape[1:] if model.data_format == "channels_first" else shape[:2]
    if model.image_size is None and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        model.image_size = size


def save(
    model,
    directory,
    *,
    dataset,
    classes=None,
    name=None,
    description="",
    image_shape=None,
    results=None,
    license=None,
    overwrite=False,
    weights_dtype="float32",
    part_bytes=None,
):
    """Write a model as a preset: a folder with config.json, model.weights.h5 and metadata.json.

    The folder appears as a whole or not at all.

    Args:
        model: a built `CoDANet`, or Sequential or Functional chain of DAU layers and Keras' linear layers, that takes
            images in [0, 1] to `(N, classes)` logits. How it was compiled is not saved.
        directory: path of the folder, which is created.
        dataset: string, the data set that the model was trained on.
        classes: strings, the classes' names in the order of the logits. Default: the `class_names` of a `CoDANet`.
        name: string. Default: the name of the folder.
        description: string, a sentence or two.
        image_shape: shape of the images that the model was trained on, without the batch axis. Default: the shape that
            the model takes.
        results: dict of JSON data, the results as measured, such as `{"test_accuracy": 0.98}`.
        license: string, the licence of the weights, such as "Apache-2.0".
        overwrite: whether to replace a preset that is there already.
        weights_dtype: "float32", for the weights as they are, or "float16", for half of the bytes and 11 of 24 bits of
            each number. `load` makes a model of the architecture's own dtype of either.
        part_bytes: integer, to have the weights in files model.weights.h5.00, ... of so many bytes each, for places
            that take small files only. Default: one file.

    Returns:
        The folder, a `pathlib.Path`.

    Raises:
        PresetError: the model is not of this form or not finite, or not in float16; an argument is not of the form
            above; the folder is there, and `overwrite` is false or it holds other files than a preset's; or the disk
            is full.

    Example:

    >>> accuracy = float((model.predict(x_test).argmax(axis=1) == y_test).mean())
    >>> keras_coda.presets.save(
    ...     model, "my_preset", dataset="digits", classes=classes, results={"test_accuracy": accuracy}
    ... )
    """
    target = pathlib.Path(directory).expanduser().resolve()
    check_target(target, overwrite)
    if not (isinstance(model, keras.Model) and model.built):
        raise PresetError(f"Expected a built Keras model. Received: {model!r}")
    config = architecture.serialize(model)
    # A copy without optimizer, metrics and losses, and the proof that the architecture can be read.
    bare = architecture.deserialize(config, "The model's architecture")
    bare.set_weights(model.get_weights())
    _check_finite(bare)
    stored = bare if weights_dtype == "float32" else _in_half(config, bare, weights_dtype)
    content = {
        "format_version": facts.FORMAT_VERSION,
        "name": target.name if name is None else name,
        "description": description,
        "dataset": dataset,
        "classes": _class_names(classes, bare),
        "image_shape": _image_shape(bare) if image_shape is None else tuple(image_shape),
        "value_range": [0.0, 1.0],
        "data_format": next(
            (s.operation.data_format for s in Graph.of(bare).steps if hasattr(s.operation, "data_format")), None
        ),
        "results": {} if results is None else results,
        "parameters": bare.count_params(),
        "weights_file": WEIGHTS,
        "weights_sha256": "",
        "license": license,
        "keras_coda_version": __version__,
        "keras_version": keras.__version__,
        facts.CONFIG_SUM: plain.digest(plain.parse(config, CONFIG)),
    }
    facts.to_json(content)  # before anything is written

    temporary = _beside(target)
    try:
        temporary.mkdir(parents=True)
        _check_space(temporary, stored)
        (temporary / CONFIG).write_text(config, encoding="utf-8")
        stored.save_weights(temporary / WEIGHTS)
        content["weights_sha256"] = sha256(temporary / WEIGHTS)
        if part_bytes is not None:
            content["weights_parts"] = weights.split(temporary / WEIGHTS, part_bytes)
        (temporary / METADATA).write_text(facts.to_json(content), encoding="utf-8")
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def check_target(directory, overwrite):
    """Raise a `PresetError` where `save` would refuse to write to `directory`."""
    target = pathlib.Path(directory)
    if not target.exists():
        return
    found = sorted(path.name for path in target.iterdir()) if target.is_dir() else "a file"
    if not (overwrite and target.is_dir() and all(name in FILES or weights.is_weights(name) for name in found)):
        raise PresetError(
            f"{target} exists. Expected: a new folder, or with overwrite=True one that holds nothing but {FILES}. "
            f"Received: overwrite={overwrite}, and there is {found}"
        )


def _in_half(config, model, dtype):
    """The same network with its weights in float16."""
    if dtype not in WEIGHTS_DTYPES:
        raise PresetError(f"`weights_dtype` must be one of {WEIGHTS_DTYPES}. Received: {dtype!r}")
    half = architecture.deserialize(config, "The model's architecture", dtype)
    half.set_weights(model.get_weights())
    _check_finite(half)
    return half


def _check_space(folder, model):
    """Before HDF5 is asked to write, which ends the process where it is stopped in the middle of some files."""
    # Twice, as parts are made beside the whole.
    needed = SPARE + 2 * sum(array.nbytes for array in model.get_weights())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PresetError(f"{folder.parent} must have {needed:,} bytes free for the preset. Received: {free:,}")


def _check_finite(model, of=""):
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight).astype("float64")).all():
            raise PresetError(f"The weight {weight.path!r}{of} has NaN or infinite values. Expected: finite weights.")


def _class_names(classes, model):
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise PresetError(
            f"Expected a model with one input and one output. Received: {len(model.inputs)} inputs and "
            f"{len(model.outputs)} outputs"
        )
    if len(model.output_shape) != 2:
        raise PresetError(f"Expected a model with outputs (N, classes). Received: output shape {model.output_shape}")
    known = getattr(model, "class_names", None)
    classes = known if classes is None else classes
    count = model.output_shape[-1]
    if classes is None or isinstance(classes, str) or len(classes) != count:
        raise PresetError(f"`classes` must be {count} names, one for each logit. Received: {classes!r}")
    if known is not None and [*classes] != [*known]:
        raise PresetError(
            f"`classes` must be the model's own: {[*known]}. Received: {[*classes]}. Set `model.class_names` to have "
            "others."
        )
    return [*classes]


def _image_shape(model):
    """The shape that the model takes, with the size that a `CoDANet` was trained on."""
    shape, size = [*model.input_shape[1:]], getattr(model, "image_size", None)
    if size is not None:
        start = 1 if model.data_format == "channels_first" else 0
        shape[start : start + 2] = size
    return tuple(shape)


def _beside(target):
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")


def _move(temporary, target):
    """Put `temporary` in the place of `target`, whose former content stays where the move fails."""
    former = _beside(target)
    if target.exists():
        target.rename(former)
    try:
        temporary.rename(target)
    except BaseException:
        if former.exists():
            former.rename(target)
        raise
    shutil.rmtree(former, ignore_errors=True)
