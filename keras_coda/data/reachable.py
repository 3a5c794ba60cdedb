"""A check before TFDS downloads: is the server reachable?"""

import pathlib
import urllib.parse
from collections.abc import Iterable

import requests

TIMEOUT = 10


def check_reachable(urls: Iterable[str], root: pathlib.Path) -> None:
    """Fail at once if a server cannot be reached. TFDS' client would retry for minutes.

    Args:
        urls: addresses of files.
        root: path of TFDS' data. Files that were downloaded before are not checked.

    Raises:
        OSError: there is no connection to a server. Any answer of the server is accepted.
    """
    known = [path.read_text() for path in (root / "downloads").glob("*.INFO")]
    for url in urls:
        if not any(url in info for info in known):
            try:
                requests.head(url, timeout=TIMEOUT).close()
            except requests.RequestException as error:
                host = urllib.parse.urlsplit(url).netloc
                raise OSError(f"no connection to {host} ({type(error).__name__})") from error
