"""Resolve a preset's name, path or Hub address to a local folder."""

import os
import pathlib

from keras_coda.presets import hub
from keras_coda.presets.errors import PresetError
from keras_coda.presets.known import KNOWN
from keras_coda.recipes import ZOO

BUNDLED = pathlib.Path(__file__).parent / "bundled"
_METADATA = "metadata.json"


def bundled():
    """The presets that come with the package: their folders by name."""
    folders = sorted(BUNDLED.iterdir()) if BUNDLED.is_dir() else []
    return {folder.name: folder for folder in folders if folder.is_dir() and not folder.name.startswith(".")}


def at_hand():
    """The presets that need no download: their folders by name.

    They are those that come with the package, and in a checkout those of `zoo/`, where weights are that are too large
    for the package.
    """
    in_zoo = {path.parent.name: path.parent for path in sorted(ZOO.glob(f"*/{_METADATA}"))}
    return {**in_zoo, **bundled()}


def is_path(handle):
    """Whether `handle` is meant as the path of a folder, not as a name or for the Hub."""
    return not isinstance(handle, str) or not (hub.is_handle(handle) or handle in {*KNOWN, *at_hand()})


def resolve(handle, files):
    """The folder of a preset.

    Args:
        handle: a known name, the path of a folder (a path object, or a string), or "hf://user/repo" or
            "hf://user/repo@revision" on the Hugging Face Hub. A name comes before a folder of that name: write "./name"
            for the folder.
        files: names of the files that are needed, of which those on the Hub are downloaded.

    Returns:
        A `pathlib.Path`.

    Raises:
        PresetError: there is none.
        ImportError: it is on the Hub, and huggingface_hub is not installed.
    """
    if not isinstance(handle, (str, os.PathLike)) or not os.fspath(handle):
        raise PresetError(f"A preset is a name or the path of a folder. Received: {handle!r}")
    if isinstance(handle, str):
        if hub.is_handle(handle):
            return hub.download(handle, files)
        if handle in at_hand():
            return at_hand()[handle]
        if handle in KNOWN:
            if KNOWN[handle].source is not None:
                return hub.download(KNOWN[handle].source, files)
            raise PresetError(
                f"The weights of {handle!r} are not released, or not in the package. For the untrained architecture: "
                f"keras_coda.presets.load({handle!r}, load_weights=False)"
            )
    try:
        path = pathlib.Path(handle).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a folder that may not be read, no such home
        raise PresetError(f"Expected the folder of a preset. Received: {str(handle)!r:.200}: {error}") from error
    if is_folder:
        return path
    if exists:
        raise PresetError(f"Expected the folder of a preset. Received: {str(path)!r}, a file")
    if isinstance(handle, os.PathLike) or handle.startswith((".", "~")) or "/" in handle or os.sep in handle:
        raise PresetError(f"Expected the folder of a preset. Received: {str(path)!r}, which does not exist")
    names = sorted({*KNOWN, *at_hand()})
    raise PresetError(f"Unknown preset {handle!r}. Known names: {names}. The path of a preset's folder works as well.")
