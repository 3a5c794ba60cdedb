"""The weights of a preset: one HDF5 file, or its bytes in parts, for what takes small files only."""

import contextlib
import pathlib
import re
import tempfile

from keras_coda.files import sha256
from keras_coda.presets.errors import PresetError

FILE = "model.weights.h5"
# A number of two digits follows the name of a part.
MOST_PARTS = 100


def names(parts):
    """The files that the weights are in. `parts` is their number, or `None` where they are in one file as it is."""
    return [FILE] if parts is None else [f"{FILE}.{number:02}" for number in range(parts)]


def is_weights(name):
    """Whether a file of this name holds weights or a part of them."""
    return re.fullmatch(re.escape(FILE) + r"(\.\d\d)?", name) is not None


@contextlib.contextmanager
def whole(folder, facts):
    """The path of the file with all weights of a preset, for as long as the context lasts.

    Args:
        folder: of the preset, a `pathlib.Path`.
        facts: its metadata, a dict.

    Raises:
        PresetError: a file of the weights is missing, or they are not those that the metadata was written for.
    """
    files = [folder / name for name in names(facts.get("weights_parts"))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise PresetError(
            f"{folder} is no preset, or not a whole one: {', '.join(missing)} is missing. "
            f"Expected for the weights: {', '.join(path.name for path in files)}"
        )
    with contextlib.ExitStack() as stack:
        path = files[0]
        if "weights_parts" in facts:
            path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()), FILE)
            _join(files, path)
        found = sha256(path)
        if found != facts["weights_sha256"]:
            what = f"{files[0]} is not the file" if len(files) == 1 else f"{files[0]} to {files[-1].name} are not those"
            raise PresetError(
                f"{what} that the preset was saved with. Expected SHA-256: {facts['weights_sha256']}. Found: {found}"
            )
        yield path


def split(path, part_bytes):
    """Put the parts of a file in its place, of `part_bytes` each and the last of what is left. Returns their number.

    Raises:
        PresetError: they would be too many, or `part_bytes` is not positive.
    """
    size = path.stat().st_size
    if part_bytes < 1 or size > part_bytes * MOST_PARTS:
        raise PresetError(
            f"`part_bytes` must be positive, and give at most {MOST_PARTS} parts of {size:,} bytes. "
            f"Received: {part_bytes}"
        )
    parts = -(-size // part_bytes)
    with path.open("rb") as file:
        for name in names(parts):
            path.with_name(name).write_bytes(file.read(part_bytes))
    path.unlink()
    return parts


def _join(files, path):
    with path.open("wb") as file:
        for part in files:
            file.write(part.read_bytes())
