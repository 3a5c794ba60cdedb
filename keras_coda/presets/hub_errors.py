"""Errors of the Hub and its client, each explained in one sentence."""

import time

from keras_coda.presets.errors import PresetError

_BUSY = (429, 503)
_WAITS = (1, 2, 4)
_ACCESS = (
    "There is no such repository, or you have no access to it. Check the name; if it is private or gated, log in with "
    "`hf auth login` or set HF_TOKEN, to a token that may do this"
)


def patiently(call, *arguments, **options):
    """Call a function of the client, again a few times while the Hub is busy.

    The client asks again itself, but not for every request.
    """
    for wait in _WAITS:
        try:
            return call(*arguments, **options)
        except Exception as error:
            response = _response(error)
            # A HEAD request was repeated by the client, for half a minute.
            if response is None or response.status_code not in _BUSY or response.request.method == "HEAD":
                raise
        time.sleep(wait)
    return call(*arguments, **options)


def explained(error, what):
    """A `PresetError` of one line for an error of the client.

    Args:
        error: an exception that the client raised.
        what: what did not happen, with the name of the repository.

    Returns:
        A `PresetError`, to be raised from `error`.
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


def _chain(error):
    while error is not None:
        yield error
        error = error.__cause__


def _response(error):
    """The answer of the Hub that led to the error, or `None`."""
    return next((link.response for link in _chain(error) if getattr(link, "response", None) is not None), None)
