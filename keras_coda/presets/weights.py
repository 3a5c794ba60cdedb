"""The weights of a preset: one HDF5 file, or its bytes in parts, for what takes small files only."""

import contextlib
import pathlib
import re
import tempfile

import h5py

from keras_coda.files import sha256
from keras_coda.presets.errors import PresetError

FILE = "model.weights.h5"
# A number of two digits follows the name of a part.
MOST_PARTS = 100
# In float16.
BYTES_A_PARAMETER = 2


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
        PresetError: a file of the weights is missing, cannot be read, or is too small for the parameters; or they are
            not those that the metadata was written for.
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
            try:
                _join(files, path)
            except OSError as error:
                raise PresetError(f"{files[0]} and its other parts cannot be read or put together: {error}") from error
        try:
            found = sha256(path)
        except OSError as error:
            raise PresetError(f"{path} cannot be read: {error}") from error
        if found != facts["weights_sha256"]:
            what = f"{files[0]} is not the file" if len(files) == 1 else f"{files[0]} to {files[-1].name} are not those"
            raise PresetError(
                f"{what} that the preset was saved with. Expected SHA-256: {facts['weights_sha256']}. Found: {found}"
            )
        size = path.stat().st_size
        if size < BYTES_A_PARAMETER * facts["parameters"]:
            raise PresetError(
                f"{files[0]} does not fit the metadata. Expected at least {BYTES_A_PARAMETER} bytes for each of the "
                f"{facts['parameters']:,} parameters. Received: {size:,} bytes"
            )
        yield path


def check_plain(path):
    """Raise an error unless an HDF5 file holds what it says it holds: arrays of numbers, none larger than the file.

    An array may be declared that is not there, or that lies in another file.

    Raises:
        ValueError, OSError: it does not, or is no HDF5 file.
    """
    declared = 0

    def visit(name, item):
        nonlocal declared
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual or item.dtype.kind not in "fiu":
            raise ValueError(f"{name!r} is no plain array of numbers, but of dtype {item.dtype}, or of other files")
        declared += item.size * item.dtype.itemsize

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if declared > path.stat().st_size:
        raise ValueError(f"its arrays are of {declared:,} bytes, and the file is of {path.stat().st_size:,}")


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
