"""Presets on the Hugging Face Hub, as its own client downloads and caches them."""

import hashlib
import pathlib
import re

from keras_coda.files import sha256
from keras_coda.presets.errors import PresetError
from keras_coda.presets.hub_errors import explained, patiently
from keras_coda.version import __version__

_HANDLE = re.compile(r"hf://([^/@\s]+/[^/@\s]+)(?:@(\S+))?")
LIBRARY = {"library_name": "keras-coda", "library_version": __version__}


def is_handle(preset):
    """Whether `preset` is meant for the Hub."""
    return isinstance(preset, str) and preset.startswith("hf://")


def parse(handle):
    """The repository "user/repo" of a handle, and its revision or `None`.

    Raises:
        PresetError: the handle is of another form.
    """
    match = _HANDLE.fullmatch(handle)
    if match is None:
        raise PresetError(f'Expected "hf://user/repo" or "hf://user/repo@revision". Received: {handle!r}')
    return match[1], match[2]


def client():
    """The package `huggingface_hub`, which only what concerns the Hub needs.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            'The Hugging Face Hub needs huggingface_hub, which is not installed: pip install "keras-coda[hub]"'
        ) from error
    return huggingface_hub


def download(handle, files):
    """The folder in the client's cache that has files of a repository, all of one commit.

    Where the cache is, tokens, progress bars and HF_HUB_OFFLINE are the client's business: see its documentation.

    Args:
        handle: "hf://user/repo", or "hf://user/repo@revision" with a branch, a tag or a whole commit hash.
        files: names of files, which alone are downloaded.

    Returns:
        A `pathlib.Path`.

    Raises:
        PresetError: the handle is of another form, a file is not there or not the Hub's, or the Hub does not give it.
        ImportError: huggingface_hub is not installed.
    """
    repo_id, revision = parse(handle)
    hub = client()
    try:
        folder = patiently(hub.snapshot_download, repo_id, revision=revision, allow_patterns=[*files], **LIBRARY)
    except Exception as error:  # the client and its HTTP library raise all kinds
        raise explained(error, f"{handle!r} was not downloaded") from error
    missing = [name for name in files if not pathlib.Path(folder, name).is_file()]
    if missing:
        raise PresetError(
            f"{handle!r} is no preset, or not a whole one. Expected: {[*files]}. Missing: {missing}. "
            "Check the repository and the revision; without a network, they may be missing in the cache alone."
        )
    for path in (pathlib.Path(folder, name) for name in files):
        if not _is_whole(path):
            raise PresetError(
                f"{path} is not the file that {handle!r} has: it was truncated or altered, on the way or in the cache. "
                f"Delete {path.resolve()} and load again."
            )
    return pathlib.Path(folder)


def _is_whole(path):
    """Whether a file is what the Hub has, by the hash under which the client's cache keeps it.

    Of large files that is the SHA-256, of others Git's. What a mirror may call its files instead says nothing.
    """
    promised = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", promised):
        return sha256(path) == promised
    if re.fullmatch("[0-9a-f]{40}", promised):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest() == promised
    return True
