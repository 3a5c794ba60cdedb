"""The weights of a preset: one HDF5 file, or its bytes in parts for hosts that take small files only."""

import contextlib
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import h5py

from keras_coda.files import sha256
from keras_coda.presets.errors import PresetError
from keras_coda.presets.files import WEIGHTS

# The names of parts end in a number of two digits.
MOST_PARTS = 100
# The least number of bytes of a parameter, in float16.
BYTES_A_PARAMETER = 2


def names(parts: int | None) -> list[str]:
    """The names of the files with the weights: of `parts` parts, or of one whole file for `None`."""
    return [WEIGHTS] if parts is None else [f"{WEIGHTS}.{number:02}" for number in range(parts)]


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights or a part of them."""
    return re.fullmatch(re.escape(WEIGHTS) + r"(\.\d\d)?", name) is not None


@contextlib.contextmanager
def whole(folder: pathlib.Path, facts: dict[str, Any]) -> Iterator[pathlib.Path]:
    """A context that gives the path of a file with all weights of a preset. Parts are joined in a temporary file.

    Args:
        folder: folder of the preset.
        facts: its metadata.

    Raises:
        PresetError: a file is missing or cannot be read, the weights are too few for the number of parameters, or they
            do not have the checksum in the metadata.
    """
    files = [folder / name for name in names(facts.get("weights_parts"))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise PresetError(
            f"{folder} is no complete preset: {', '.join(missing)} is missing. "
            f"Expected for the weights: {', '.join(path.name for path in files)}"
        )
    with contextlib.ExitStack() as stack:
        path = files[0]
        if "weights_parts" in facts:
            try:
                path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()), WEIGHTS)
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


def check_plain(path: pathlib.Path) -> None:
    """Raise an error unless an HDF5 file holds plain arrays of numbers, together no larger than the file.

    HDF5 can declare arrays that have no data, or whose data lie in another file.

    Raises:
        ValueError, OSError: it holds others, or is no HDF5 file.
    """
    declared = 0

    def visit(name, item):
        nonlocal declared
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual or item.dtype.kind not in "fiu":
            raise ValueError(f"{name!r} must be an array of numbers in this file. Received: dtype {item.dtype}")
        declared += item.size * item.dtype.itemsize

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if declared > path.stat().st_size:
        raise ValueError(f"its arrays have {declared:,} bytes, and the file has {path.stat().st_size:,}")


def split(path: pathlib.Path, part_bytes: int) -> int:
    """Replace a file by parts of `part_bytes` each; the last one may be smaller. Returns the number of parts.

    Raises:
        PresetError: there would be too many parts, or `part_bytes` is not positive.
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
            with part.open("rb") as bytes_of_part:
                shutil.copyfileobj(bytes_of_part, file)
