"""The files of a preset: their names, and how its JSON files are read."""

import hashlib
import json
import math
import pathlib
import stat
from collections.abc import Callable
from typing import Any

from keras_coda.presets.errors import PresetError

CONFIG, WEIGHTS, METADATA = FILES = ("config.json", "model.weights.h5", "metadata.json")
# Largest size of a JSON file. Those of the paper's largest networks have some kilobytes.
MOST_BYTES = 4 * 2**20


def read(path: pathlib.Path) -> str:
    """The text of a JSON file of a preset.

    Raises:
        PresetError: the file is missing, is no regular file, is too large, is not UTF-8, or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PresetError(f"{path} must be a regular file of JSON text. Received: another kind of file")
        if status.st_size > MOST_BYTES:
            raise PresetError(f"{path} must have at most {MOST_BYTES:,} bytes. Received: {status.st_size:,}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PresetError(
            f"{path.parent} is no complete preset: {path.name} is missing. Expected: {', '.join(FILES)}"
        ) from error
    except UnicodeDecodeError as error:
        raise PresetError(f"{path} is not valid JSON: {error}") from error
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error}") from error


def parse(text: str, source: Any, change: Callable[[dict], dict] | None = None) -> Any:
    """The value of JSON text, in which numbers are finite and the names in an object differ.

    Args:
        text: string.
        source: name of the text in error messages.
        change: function that is applied to every object (a dict) in the text and returns its replacement.

    Raises:
        PresetError: the text is not such JSON.
    """

    def finite(number):
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"numbers must be finite, and {number:.40} is not")
        return value

    def without_repetition(pairs):
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError(f"the names in an object must differ. Received: {[name for name, _ in pairs]}")
        return value if change is None else change(value)

    try:
        return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise PresetError(f"{source} is not valid JSON: {error}") from error


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value. It does not depend on white space, the order of names or the notation of numbers."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
