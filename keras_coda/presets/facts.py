"""Preset metadata: the content of metadata.json."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_coda.presets import files, weights
from keras_coda.presets.errors import PresetError
from keras_coda.presets.files import METADATA, WEIGHTS
from keras_coda.version import __version__

FORMAT_VERSION = 1
# Of the pixels of all presets.
VALUE_RANGE = [0.0, 1.0]


@dataclasses.dataclass(frozen=True)
class Facts:
    """The part of a preset's metadata that is not read from the model.

    Attributes:
        dataset: the data set that the model was trained on.
        classes: names of the classes, in the order of the logits. Default: the `class_names` of a `CoDANet`.
        name: name of the preset. Default: that of the folder.
        description: a sentence or two.
        image_shape: shape of the images that the model was trained on, without the batch axis. Default: the shape that
            the model takes.
        results: dict of JSON data, the measured results, such as `{"test_accuracy": 0.98}`.
        license: licence of the weights, such as "Apache-2.0".

    Example:

    >>> facts = keras_coda.presets.Facts(dataset="digits", classes=classes, license="Apache-2.0")
    >>> keras_coda.presets.save(model, "my_preset", facts)
    """

    dataset: str
    classes: Sequence[str] | None = None
    name: str | None = None
    description: str = ""
    image_shape: Sequence[int | None] | None = None
    results: dict[str, Any] | None = None
    license: str | None = None


_TYPES = {
    "format_version": int,
    "name": str,
    "description": str,
    "dataset": str,
    "classes": list,
    "image_shape": list,
    "value_range": list,
    "data_format": str | None,
    "results": dict,
    "parameters": int,
    "weights_file": str,
    "weights_sha256": str,
    "license": str | None,
    "keras_coda_version": str,
    "keras_version": str,
}
# Checksums of the contents of config.json and of the metadata (without this entry). The oldest presets have neither,
# and load with that of the weights alone. Metadata with only one of the two were altered.
CHECKSUMS = CONFIG_SUM, OWN_SUM = ("config_sha256", "metadata_sha256")
_OPTIONAL = {"weights_parts", *CHECKSUMS}


def read(folder: pathlib.Path) -> dict[str, Any]:
    """The metadata of the preset in a folder.

    Raises:
        PresetError: metadata.json is missing or cannot be read, or `parse` refuses it.
    """
    return parse(files.read(folder / METADATA), folder / METADATA)


def parse(text: str, source: Any) -> dict[str, Any]:
    """The metadata in JSON text.

    Args:
        text: string.
        source: name of the text in error messages.

    Raises:
        PresetError: the text is no JSON object; an entry is missing, unknown or of another type; or the content does
            not have its checksum.
    """
    facts = files.parse(text, source)
    if not isinstance(facts, dict):
        raise PresetError(f"{source} must hold a JSON object. Received: {facts!r}")
    if facts.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise PresetError(
            f"{source} has format version {facts['format_version']!r}. Expected: {FORMAT_VERSION}, which is what "
            f"keras-coda {__version__} reads."
        )
    has_sums = any(key in facts for key in CHECKSUMS)
    for key, expected in {**_TYPES, **(dict.fromkeys(CHECKSUMS, str) if has_sums else {})}.items():
        if key not in facts:
            raise PresetError(f"{source} has no {key!r}. Expected: {[*_TYPES]}. Received: {[*facts]}")
        if not isinstance(facts[key], expected) or isinstance(facts[key], bool):
            type_name = getattr(expected, "__name__", expected)
            raise PresetError(f"{key!r} in {source} must be of type {type_name}. Received: {facts[key]!r}")
    if not all(isinstance(name, str) for name in facts["classes"]):
        raise PresetError(f"'classes' in {source} must be strings. Received: {facts['classes']!r}")
    parts = facts.get("weights_parts", 1)
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= weights.MOST_PARTS:
        raise PresetError(f"'weights_parts' in {source} must be in 1..{weights.MOST_PARTS}. Received: {parts!r}")
    if facts["weights_file"] != WEIGHTS:
        raise PresetError(f"'weights_file' in {source} must be {WEIGHTS!r}. Received: {facts['weights_file']!r}")
    if not all(size is None or (type(size) is int and size > 0) for size in facts["image_shape"]):
        raise PresetError(f"'image_shape' in {source} must be sizes or null. Received: {facts['image_shape']!r}")
    if facts["value_range"] != VALUE_RANGE:
        raise PresetError(f"'value_range' in {source} must be {VALUE_RANGE}. Received: {facts['value_range']!r}")
    if facts["data_format"] not in (None, "channels_last", "channels_first"):
        raise PresetError(f"'data_format' in {source} must be one of Keras'. Received: {facts['data_format']!r}")
    unknown = sorted(facts.keys() - _TYPES.keys() - _OPTIONAL)
    if unknown:
        raise PresetError(f"{source} has unknown entries. Expected: {[*_TYPES]}. Received: {unknown}")
    if has_sums and _sum(facts) != facts[OWN_SUM]:
        raise PresetError(
            f"{source} is not as it was written. Expected SHA-256 of its content: {facts[OWN_SUM]}. Found: "
            f"{_sum(facts)}. To change results, use `keras_coda.presets.add_results`. If you altered it yourself, "
            f"remove the entries {CHECKSUMS}."
        )
    return facts


def _sum(facts):
    return files.digest({key: value for key, value in facts.items() if key != OWN_SUM})


def to_json(facts: dict[str, Any]) -> str:
    """Metadata as the text that `parse` reads. Its checksum is set if there is one of config.json.

    Raises:
        PresetError: an entry is no JSON data, or has another type.
    """
    try:
        # In the form in which it is read: names are strings.
        facts = json.loads(json.dumps(facts, allow_nan=False))
        if CONFIG_SUM in facts:
            facts = {**facts, OWN_SUM: _sum(facts)}
        text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PresetError(f"The metadata must be JSON data: {error}. Received: {facts!r}") from error
    parse(text, "the metadata")
    return text
