"""The files of an evaluation: its settings, and pieces of its table. Each is written completely or not at all.

The last line of a piece is its checksum. A piece that was truncated, altered or renamed, or has no checksum, is treated
as missing and measured again.
"""

import hashlib
import io
import json
import pathlib
import urllib.parse

import keras
import numpy as np

from keras_coda.files import written_whole
from keras_coda.imports import Lazy

pd = Lazy("pandas", "pandas")

SETTINGS = "settings.json"
GRIDS = "grids.csv"
OUTPUTS, PROBABILITIES = "outputs", "probabilities"
_NOT_AS_WRITTEN = (
    "{} is not as it was written: {}. Expected: the {} of an evaluation to continue. Delete the folder, or choose "
    "another one."
)

# Kept by hand: `joblib.Memory` hashes pickled arguments, which gives no stable key for a model, and its results are
# pickles, which execute code when they are read.
_CHECKSUM = "# SHA-256 "
_PLAIN = (bool, int, float, str, tuple, list, dict, np.generic, type(None))


class Pieces:
    """The directory of an evaluation: its settings, its grids, a CSV file for each piece, and the table of all.

    Args:
        directory: path; created if it is missing.
        settings: dict of plain data, everything that the scores depend on except the methods.

    Attributes:
        continues: whether there are pieces already.

    Raises:
        ValueError: the directory belongs to other settings.
    """

    def __init__(self, directory, settings):
        self.directory = pathlib.Path(directory)
        (self.directory / "pieces").mkdir(parents=True, exist_ok=True)
        path = self.directory / SETTINGS
        # Without a piece there is nothing to continue.
        self.continues = any((self.directory / "pieces").iterdir())
        if not self.continues:
            with written_whole(path) as file:
                json.dump(settings, file, indent=1)
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError(f"it holds {found!r:.40}")
        except (OSError, ValueError) as error:
            raise ValueError(_NOT_AS_WRITTEN.format(path, error, "settings")) from error
        differing = sorted(key for key in found.keys() | settings.keys() if not _same(key, found, settings))
        if differing:
            raise ValueError(
                f"{directory} holds an evaluation with other settings. Expected: the same settings, to continue it, or "
                f"another directory. Received: { {key: settings.get(key) for key in differing} }, where the directory "
                f"has { {key: found.get(key) for key in differing} }"
            )

    def grids(self):
        """The indices of the images of each grid, `(G, n n)`, which were written when the evaluation began."""
        path = self.directory / GRIDS
        kept = table(path)
        if kept is None:
            raise ValueError(_NOT_AS_WRITTEN.format(path, "it is missing or damaged", "grids"))
        return kept.to_numpy()

    def path(self, name, method, kind, start):
        """The path of the piece of a method, with its settings, for the items from `start` on."""
        file = f"{kind}_{urllib.parse.quote(name, safe='')}_{_settings_of(method)}_{start:06d}.csv"
        return self.directory / "pieces" / file


def write(path, table):
    """Write the rows of a piece, and their checksum."""
    text = _to_csv(table)
    with written_whole(path) as file:
        file.write(f"{text}{_CHECKSUM}{_sum(path, text)}\n")


def write_table(path, table):
    """Write a table without a checksum: one for users, which can be made again from pieces."""
    with written_whole(path) as file:
        file.write(_to_csv(table))


def read(path):
    """The CSV text of a piece, or `None` if it is missing or damaged."""
    try:
        text, _, checksum = path.read_text(encoding="utf-8").rpartition(_CHECKSUM)
    except (OSError, UnicodeDecodeError):
        return None
    return text if text and checksum == f"{_sum(path, text)}\n" else None


def table(path):
    """The rows of a piece as a DataFrame, or `None` if it is missing or damaged."""
    text = read(path)
    return None if text is None else read_table(io.StringIO(text))


def read_table(source):
    """A table with its names as they were written: pandas would take "null" for no value, and "1" for a number."""
    names = dict.fromkeys(("metric", "method", "mode", "layer"), str)
    return pd.read_csv(source, dtype=names, keep_default_na=False, na_values={"x": [""]})


def join(paths, path):
    """Write the table of all pieces, which have the same columns.

    Raises:
        ValueError: a piece was altered after it was measured.
    """
    with written_whole(path) as whole:
        for number, piece in enumerate(paths):
            text = read(piece)
            if text is None:
                raise ValueError(f"{piece} was altered while the evaluation ran. Expected: it as it was written")
            header, rows = text.split("\n", 1)
            whole.write(rows if number else f"{header}\n{rows}")


def _to_csv(table):
    return table.to_csv(index=False, float_format="%.7g", lineterminator="\n")


def _sum(path, text):
    # With the name, so that a renamed piece is detected.
    return hashlib.sha256(f"{path.name}\n{text}".encode()).hexdigest()


def digest(arrays):
    """16 hexadecimal digits of the SHA-256 of arrays: of their values, shapes and dtypes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view("uint8").data)
    return sha.hexdigest()[:16]


def _same(key, found, settings):
    if key in (OUTPUTS, PROBABILITIES) and key in found and key in settings:
        # One model's outputs differ in their last digits between machines.
        return np.shape(found[key]) == np.shape(settings[key]) and np.allclose(found[key], settings[key], 1e-3, 1e-3)
    return found.get(key) == settings.get(key)


def _settings_of(method):
    """Eight digits of a hash of a method's settings: its public attributes that are plain data."""
    sha = hashlib.sha256(type(method).__name__.encode())
    for name, value in sorted(vars(method).items()):
        # A layer, such as that of Grad-CAM, counts by its name.
        value = value.name if isinstance(value, keras.layers.Layer) else value
        if isinstance(value, np.ndarray) or keras.ops.is_tensor(value):
            value = digest([keras.ops.convert_to_numpy(value)])
        if not name.startswith("_") and name != "batch_size" and isinstance(value, _PLAIN):
            sha.update(f"{name}={value!r}".encode())
    return sha.hexdigest()[:8]
