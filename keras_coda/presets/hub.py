"""The Hugging Face Hub: addresses, downloads by its own client, and its errors, each explained in a sentence."""

import hashlib
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from keras_coda.files import sha256
from keras_coda.presets.errors import PresetError
from keras_coda.version import __version__

_ADDRESS = re.compile(r"hf://([^/@\s]+/[^/@\s]+)(?:@(\S+))?")
LIBRARY = {"library_name": "keras-coda", "library_version": __version__}
_BUSY = (429, 503)
_WAITS = (1, 2, 4)
_ACCESS = (
    "There is no such repository, or you have no access to it. Check the name; if it is private or gated, log in with "
    "`hf auth login` or set HF_TOKEN, to a token that may do this"
)


def is_address(preset: Any) -> bool:
    """Whether `preset` is an address on the Hub."""
    return isinstance(preset, str) and preset.startswith("hf://")


def parse(address: str) -> tuple[str, str | None]:
    """The repository "user/repo" and the revision (or `None`) of an address.

    Raises:
        PresetError: the address has another form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise PresetError(f'Expected "hf://user/repo" or "hf://user/repo@revision". Received: {address!r}')
    return match[1], match[2]


def client() -> Any:
    """The package `huggingface_hub`, which is imported only when the Hub is used.

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


def download(address: str, files: tuple[str, ...]) -> pathlib.Path:
    """Download files of one commit of a repository, into the client's cache.

    The client decides on the place of the cache, tokens, progress bars and HF_HUB_OFFLINE: see its documentation.

    Args:
        address: "hf://user/repo", or "hf://user/repo@revision" with a branch, a tag or a full commit hash.
        files: names of the files to download.

    Returns:
        The folder in the cache.

    Raises:
        PresetError: the address has another form, a file is missing or is not the one on the Hub, or the download
            fails.
        ImportError: huggingface_hub is not installed.
    """
    repo_id, revision = parse(address)
    hub = client()
    try:
        folder = patiently(hub.snapshot_download, repo_id, revision=revision, allow_patterns=[*files], **LIBRARY)
    except Exception as error:  # the client and its HTTP library raise errors of many types
        raise explained(error, f"{address!r} was not downloaded") from error
    missing = [name for name in files if not pathlib.Path(folder, name).is_file()]
    if missing:
        raise PresetError(
            f"{address!r} is no complete preset. Expected: {[*files]}. Missing: {missing}. "
            "Check the repository and the revision. Without a network, only the cache may lack them."
        )
    for path in (pathlib.Path(folder, name) for name in files):
        if not _is_whole(path):
            raise PresetError(
                f"{path} is not the file of {address!r}: it was truncated or altered, on the way or in the cache. "
                f"Delete {path.resolve()} and load again."
            )
    return pathlib.Path(folder)


def _is_whole(path):
    """Whether a file is the one on the Hub, by its hash, which is its name in the client's cache.

    For large files this is the SHA-256, for others Git's hash. A mirror may use other names: then nothing is checked.
    """
    promised = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", promised):
        return sha256(path) == promised
    if re.fullmatch("[0-9a-f]{40}", promised):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest() == promised
    return True


def patiently(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of the client, and repeat it a few times while the Hub is busy.

    The client itself repeats only some requests.
    """
    for wait in _WAITS:
        try:
            return call(*arguments, **options)
        except Exception as error:
            response = _response(error)
            # The client repeats HEAD requests itself, for half a minute.
            if response is None or response.status_code not in _BUSY or response.request.method == "HEAD":
                raise
        time.sleep(wait)
    return call(*arguments, **options)


def explained(error: Exception, what: str) -> PresetError:
    """A `PresetError` of one line for an exception of the client, to be raised from it.

    Args:
        error: the exception.
        what: what failed, with the name of the repository.
    """
    return PresetError(" ".join(f"{what}: {_reason(error)}.".split()))


def _reason(error):
    from huggingface_hub import constants, errors

    chain, response = [*_chain(error)], _response(error)
    if any(isinstance(link, errors.OfflineModeIsEnabled) for link in chain):
        return "HF_HUB_OFFLINE is set, and the cache does not have all that is needed. Unset it, with a network"
    if response is None:
        if any(type(link).__module__.partition(".")[0] in ("httpx", "httpx2") for link in chain):
            at = constants.ENDPOINT
            return f"The Hub is not reached at {at}, or the connection broke. Check the network, proxy and HF_ENDPOINT"
        return f"{type(error).__name__}: {error}".rstrip(".")
    status = response.status_code
    if any(isinstance(link, errors.RevisionNotFoundError) for link in chain):
        return f"The repository has no such revision (HTTP {status}). Check the branch, tag or commit"
    if any(isinstance(link, errors.RemoteEntryNotFoundError) for link in chain):
        return f"The repository lacks {response.request.url.path} (HTTP 404). Check the revision"
    if status in (401, 403, 404):
        return f"{_ACCESS} (HTTP {status})"
    if status == 429:
        return "The Hub has had too many requests (HTTP 429). Wait some minutes, or log in with `hf auth login`"
    if status >= 500:
        return f"The Hub is not available (HTTP {status}). Try again later; whole files are kept"
    return f"The Hub refused (HTTP {status}): {getattr(error, 'server_message', None) or error}".rstrip(".")


def _chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__


def _response(error):
    """The HTTP response that led to the error, or `None`."""
    return next((link.response for link in _chain(error) if getattr(link, "response", None) is not None), None)
