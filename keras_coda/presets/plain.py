"""The JSON files of a preset: regular files of a bounded size, read strictly, and what tells whether they changed."""

import hashlib
import json
import math
import stat

from keras_coda.presets.errors import PresetError

# The largest networks of the paper need some kilobytes.
MOST_BYTES = 4 * 2**20


def read(path, expected):
    """The text of a file.

    Args:
        path: a `pathlib.Path`.
        expected: the files that there should be, for the error.

    Raises:
        PresetError: the file is missing, is none (a directory, a pipe, a device), too large, no text, or not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PresetError(f"{path} is no regular file. Expected: one, of JSON text")
        if status.st_size > MOST_BYTES:
            raise PresetError(f"{path} must have at most {MOST_BYTES:,} bytes. Received: {status.st_size:,}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PresetError(
            f"{path.parent} is no preset, or not a whole one: {path.name} is missing. Expected: {expected}"
        ) from error
    except UnicodeDecodeError as error:
        raise PresetError(f"{path} is not valid JSON: {error}") from error
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error}") from error


def parse(text, source, change=None):
    """The value of JSON text without NaN, infinite numbers, or a name twice in an object.

    Args:
        text: string.
        source: what the error calls it.
        change: function of a dict that returns another, for every object in the text. Default: they stay.

    Raises:
        PresetError: the text is none.
    """

    def finite(number):
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"numbers must be finite, and {number:.40} is not")
        return value

    def without_repetition(pairs):
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ValueError(f"the names of an object must differ, and these do not: {[name for name, _ in pairs]}")
        return value if change is None else change(value)

    try:
        return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise PresetError(f"{source} is not valid JSON: {error}") from error


def digest(value):
    """The SHA-256 of a JSON value, which does not depend on spaces, the order of names or how a number is written."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
