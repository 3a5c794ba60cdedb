"""What is to be known of a preset: the content of its metadata.json."""

import json

from keras_coda.presets import weights
from keras_coda.presets.errors import PresetError
from keras_coda.version import __version__

FORMAT_VERSION = 1
WEIGHTS = weights.FILE

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


def parse(text, source):
    """The facts in JSON text, a dict. `source` is what error messages call the text.

    Raises:
        PresetError: the text is no JSON object, or a fact is missing or of another type.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PresetError(f"{source} is not valid JSON: {error}") from error
    if not isinstance(facts, dict):
        raise PresetError(f"{source} must hold a JSON object. Received: {facts!r}")
    if facts.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise PresetError(
            f"{source} has format version {facts['format_version']!r}. Expected: {FORMAT_VERSION}, which is what "
            f"keras-coda {__version__} reads."
        )
    for key, expected in _TYPES.items():
        if key not in facts:
            raise PresetError(f"{source} has no {key!r}. Expected: {[*_TYPES]}. Received: {[*facts]}")
        if not isinstance(facts[key], expected):
            type_name = getattr(expected, "__name__", expected)
            raise PresetError(f"{key!r} in {source} must be of type {type_name}. Received: {facts[key]!r}")
    if not all(isinstance(name, str) for name in facts["classes"]):
        raise PresetError(f"'classes' in {source} must be strings. Received: {facts['classes']!r}")
    parts = facts.get("weights_parts", 1)
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= weights.MOST_PARTS:
        raise PresetError(f"'weights_parts' in {source} must be in 1..{weights.MOST_PARTS}. Received: {parts!r}")
    if facts["weights_file"] != WEIGHTS:
        raise PresetError(f"'weights_file' in {source} must be {WEIGHTS!r}. Received: {facts['weights_file']!r}")
    return facts


def to_json(facts):
    """The text that `parse` reads.

    Raises:
        PresetError: a fact is no JSON data, or of another type.
    """
    try:
        text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PresetError(f"The metadata must be JSON data: {error}. Received: {facts!r}") from error
    parse(text, "the metadata")
    return text + "\n"
