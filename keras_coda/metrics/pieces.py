"""The files of an evaluation, each written whole or not at all, with a digest of the settings that they belong to."""

import hashlib
import json
import pathlib
import urllib.parse

import keras
import numpy as np

from keras_coda.files import written_whole

SETTINGS = "settings.json"
OUTPUTS = "outputs"

_PLAIN = (bool, int, float, str, tuple, list, np.generic, type(None))


class Pieces:
    """The directory of an evaluation: `settings.json`, a CSV file a piece of work, and the table of all.

    Args:
        directory: path; created where it is missing.
        settings: dict of plain data, all that the scores depend on, the methods apart.

    Raises:
        ValueError: the directory is that of other settings.
    """

    def __init__(self, directory, settings):
        self.directory = pathlib.Path(directory)
        (self.directory / "pieces").mkdir(parents=True, exist_ok=True)
        path = self.directory / SETTINGS
        if not path.exists():
            with written_whole(path) as file:
                json.dump(settings, file, indent=1)
            return
        found = json.loads(path.read_text())
        differing = sorted(key for key in found.keys() | settings.keys() if not _same(key, found, settings))
        if differing:
            raise ValueError(
                f"{directory} holds an evaluation with other settings. Expected: the same, to go on with it, or "
                f"another directory. Received: { {key: settings.get(key) for key in differing} }, where there are "
                f"{ {key: found.get(key) for key in differing} }"
            )

    def path(self, name, method, kind, start):
        """The file of a piece: of a method, by its name and its settings, and the items from `start` on."""
        file = f"{kind}_{urllib.parse.quote(name, safe='')}_{_settings_of(method)}_{start:06d}.csv"
        return self.directory / "pieces" / file


def write(path, table):
    """Write the rows of a piece."""
    with written_whole(path) as file:
        table.to_csv(file, index=False, float_format="%.7g", lineterminator="\n")


def join(paths, path):
    """Write the table of all pieces, which have the same columns."""
    with written_whole(path) as whole:
        for number, piece in enumerate(paths):
            header, rows = piece.read_text(encoding="utf-8").split("\n", 1)
            whole.write(rows if number else f"{header}\n{rows}")


def digest(arrays):
    """16 digits of the SHA-256 of arrays: their values, shapes and dtypes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return sha.hexdigest()[:16]


def _same(key, found, settings):
    if key == OUTPUTS and key in found and key in settings:
        # One model's outputs differ in their last digits between machines.
        return np.shape(found[key]) == np.shape(settings[key]) and np.allclose(found[key], settings[key], 1e-3, 1e-3)
    return found.get(key) == settings.get(key)


def _settings_of(method):
    """Eight digits of a hash of a method's settings: its public attributes of plain data."""
    sha = hashlib.sha256(type(method).__name__.encode())
    for name, value in sorted(vars(method).items()):
        # A layer, such as that of Grad-CAM, by its name.
        value = value.name if isinstance(value, keras.layers.Layer) else value
        if isinstance(value, np.ndarray):
            value = digest([value])
        if not name.startswith("_") and name != "batch_size" and isinstance(value, _PLAIN):
            sha.update(f"{name}={value!r}".encode())
    return sha.hexdigest()[:8]
