"""Save a preset: a folder of plain data with the architecture, the weights and the metadata."""

import numbers
import os
import pathlib
import shutil
from collections.abc import Collection, Iterable
from typing import Any

import keras

from keras_coda.backend.conventions import channels_last, fits, in_format
from keras_coda.files import beside, left_beside, move_folder, sha256, written_whole
from keras_coda.presets import architecture, files, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.facts import CONFIG_SUM, FORMAT_VERSION, VALUE_RANGE, Facts, to_json
from keras_coda.presets.files import CONFIG, FILES, METADATA, WEIGHTS
from keras_coda.presets.loading import check_finite, data_format_of, metadata
from keras_coda.presets.names import is_path, resolve
from keras_coda.settings import settings_of
from keras_coda.version import __version__

# Bytes of disk space for everything but the weights.
SPARE = 2**20
WEIGHTS_DTYPES = ("float32", "float16")


def save(
    model: keras.Model,
    directory: str | os.PathLike,
    facts: Facts | None = None,
    *,
    overwrite: bool = False,
    weights_dtype: str = "float32",
    part_bytes: int | None = None,
    **fields: Any,
) -> pathlib.Path:
    """Write a model as a preset: a folder with config.json, model.weights.h5 and metadata.json.

    The folder appears as a whole or not at all.

    Args:
        model: a built `CoDANet`, or Sequential or Functional model of DAU layers and Keras' linear layers, that maps
            images in [0, 1] to `(N, classes)` logits. Its compile arguments are not saved.
        directory: path of the folder, which is created.
        facts: `Facts` for the metadata: data set, names of classes, results and so on.
        overwrite: whether to replace an existing preset.
        weights_dtype: "float32", or "float16" for half of the bytes and 11 of the 24 bits of precision. `load` gives
            the dtype of the architecture in both cases.
        part_bytes: integer, to split the weights into files model.weights.h5.00, ... of this many bytes, for hosts that
            take small files only. Default: one file.
        fields: any field of `facts`, in its place: `dataset="MNIST"`.

    Returns:
        The folder.

    Raises:
        TypeError: there is no `dataset`, or an argument is unknown.
        PresetError: the model is not of this form, or a weight is not finite (in float16, if asked for); an argument is
            not of the form above; the folder exists, and `overwrite` is false or it holds other files than a preset's;
            or there is not enough disk space.

    Example:

    >>> accuracy = float((model.predict(x_test).argmax(axis=1) == y_test).mean())
    >>> keras_coda.presets.save(
    ...     model, "my_preset", dataset="digits", classes=classes, results={"test_accuracy": accuracy}
    ... )
    """
    facts = settings_of(Facts, facts, fields)
    if not (part_bytes is None or isinstance(part_bytes, numbers.Integral)):
        raise PresetError(f"`part_bytes` must be an integer. Received: {part_bytes!r}")
    check_target(directory, overwrite)
    target = pathlib.Path(directory).expanduser().resolve()
    if not (isinstance(model, keras.Model) and model.built):
        raise PresetError(f"Expected a built Keras model. Received: {model!r}")
    config = architecture.serialize(model)
    # A copy without optimizer, metrics and losses. That it can be made shows that the preset can be loaded.
    bare = architecture.deserialize(config, "The model's architecture", zeros=True)
    bare.set_weights(model.get_weights())
    check_finite(bare)
    stored = _to_store(config, bare, weights_dtype)
    content = {
        "format_version": FORMAT_VERSION,
        "name": target.name if facts.name is None else facts.name,
        "description": facts.description,
        "dataset": facts.dataset,
        "classes": _class_names(facts.classes, bare),
        "image_shape": image_shape_of(bare, facts.image_shape),
        "value_range": VALUE_RANGE,
        "data_format": data_format_of(bare),
        "results": {} if facts.results is None else facts.results,
        "parameters": bare.count_params(),
        "weights_file": WEIGHTS,
        "weights_sha256": "",
        "license": facts.license,
        "keras_coda_version": __version__,
        "keras_version": keras.__version__,
        CONFIG_SUM: files.digest(files.parse(config, CONFIG)),
    }
    to_json(content)  # Errors are raised before anything is written.

    temporary = beside(target)
    try:
        temporary.mkdir(parents=True)
        _check_space(temporary, stored)
        (temporary / CONFIG).write_text(config, encoding="utf-8")
        stored.save_weights(temporary / WEIGHTS)
        content["weights_sha256"] = sha256(temporary / WEIGHTS)
        if part_bytes is not None:
            content["weights_parts"] = weights.split(temporary / WEIGHTS, part_bytes)
        (temporary / METADATA).write_text(to_json(content), encoding="utf-8")
        check_target(target, overwrite)  # again, since writing takes seconds
        try:
            move_folder(temporary, target, overwrite)
        except OSError:
            check_target(target, overwrite)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def add_results(folder: str | os.PathLike, results: dict[str, Any]) -> pathlib.Path:
    """Write measured results into a preset's metadata.json. Results of the same names are replaced.

    The file is replaced as a whole, or stays as it was.

    Args:
        folder: path of a folder that `save` wrote. Presets in the package and on the Hub are not altered.
        results: dict of JSON data, such as `{"test_accuracy": 0.98}`.

    Returns:
        The path of metadata.json.

    Raises:
        PresetError: `folder` is not the path of a preset, `results` is no dict of JSON data, or the file cannot be
            written.

    Example:

    >>> keras_coda.presets.save(model, "my_results", dataset="digits", classes=classes)
    >>> keras_coda.presets.add_results("./my_results", {"test_accuracy": 0.98})
    """
    if not is_path(folder):
        raise PresetError(
            "Results are written into a preset's folder. Expected: its path. Received: the name "
            f"{folder!r}; presets of the package and of the Hub are not altered"
        )
    if not isinstance(results, dict):
        raise PresetError(f"`results` must be a dict. Received: {results!r}")
    path = resolve(folder, (METADATA,)) / METADATA
    content = metadata(path.parent)
    text = to_json({**content, "results": {**content["results"], **results}})
    try:
        with written_whole(path) as file:
            file.write(text)
    except OSError as error:
        raise PresetError(f"The results were not written, and {path} is as it was: {error}") from error
    return path


def check_target(directory: str | os.PathLike, overwrite: bool) -> None:
    """Raise a `PresetError` if `save` would refuse to write to `directory`."""
    # `pathlib` makes hf:/user/repo of an address.
    if pathlib.Path(directory).parts[:1] == ("hf:",):
        raise PresetError(f"Expected the path of a folder, which `publish` uploads. Received: {os.fspath(directory)!r}")
    target = pathlib.Path(directory).expanduser()
    if not target.exists():
        return
    # A killed `add_results` may have left a partial file.
    left = {*target.glob(f".{METADATA}.*.partial")}
    found = sorted(path.name for path in target.iterdir() if path not in left) if target.is_dir() else "a file"
    if not (overwrite and target.is_dir() and all(name in FILES or weights.is_weights(name) for name in found)):
        raise PresetError(
            f"{target} exists. Expected: a new folder, or with overwrite=True one that holds nothing but {FILES}. "
            f"Received: overwrite={overwrite}, and a folder with {found}"
        )


def remove_left(directory: str | os.PathLike) -> None:
    """Remove the incomplete folders that killed calls of `save` have left beside theirs.

    No other process may write to the folder now.
    """
    target = pathlib.Path(directory).expanduser().resolve()
    for path in left_beside(target):
        shutil.rmtree(path, ignore_errors=True)


def _to_store(config, model, dtype):
    """The network, or a copy of it with weights of the dtype in which they are stored."""
    if dtype not in WEIGHTS_DTYPES:
        raise PresetError(f"`weights_dtype` must be one of {WEIGHTS_DTYPES}. Received: {dtype!r}")
    # HDF5 has no bfloat16. float32 holds all of its numbers.
    if dtype == "float32" and all(variable.dtype != "bfloat16" for variable in model.variables):
        return model
    copy = architecture.deserialize(config, "The model's architecture", dtype, zeros=True)
    copy.set_weights(model.get_weights())
    check_finite(copy)
    return copy


def _check_space(folder, model):
    """Raise an error if the disk is too full. HDF5 itself may end the process when a write fails."""
    # Twice the weights, since their parts are written before the whole file is removed.
    needed = SPARE + 2 * sum(array.nbytes for array in model.get_weights())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PresetError(f"{folder.parent} must have {needed:,} bytes free for the preset. Received: {free:,}")


def _class_names(classes, model):
    if len(model.output_shape) != 2:
        raise PresetError(f"Expected a model with outputs (N, classes). Received: output shape {model.output_shape}")
    known = getattr(model, "class_names", None)
    classes = known if classes is None else classes
    count = model.output_shape[-1]
    if not isinstance(classes, Collection) or isinstance(classes, str) or len(classes) != count:
        raise PresetError(f"`classes` must be {count} names, one for each logit. Received: {classes!r}")
    if known is not None and [*classes] != [*known]:
        raise PresetError(
            f"`classes` must be the model's own: {[*known]}. Received: {[*classes]}. Set `model.class_names` to "
            "change them."
        )
    return [*classes]


def image_shape_of(model: keras.Model, given: Any = None) -> tuple:
    """The given shape of images, or the model's input shape with the image size that a `CoDANet` was trained on."""
    shape, size = model.input_shape[1:], getattr(model, "image_size", None)
    if given is not None:
        # NumPy's integers are no JSON data.
        if isinstance(given, Iterable):
            given = tuple(int(size) if isinstance(size, numbers.Integral) else size for size in given)
        if not (isinstance(given, tuple) and fits(shape, given)):
            raise PresetError(f"`image_shape` must be a shape that the model takes, {shape}. Received: {given}")
        return given
    if size is not None:
        shape = in_format((*size, channels_last(shape, model.data_format)[-1]), model.data_format)
    return tuple(shape)
