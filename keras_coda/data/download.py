"""Whether what TFDS is about to download can be had."""

import urllib.parse

import requests

TIMEOUT = 10


def check_reachable(urls, root):
    """Fail at once where TFDS' client would try again for minutes.

    Args:
        urls: addresses of files.
        root: path of TFDS' data. A file that is in its downloads already is not asked for.

    Raises:
        OSError: there is no connection to the server of one of them. (That it answers is enough.)
    """
    known = [path.read_text() for path in (root / "downloads").glob("*.INFO")]
    for url in urls:
        if not any(url in info for info in known):
            try:
                requests.head(url, timeout=TIMEOUT).close()
            except requests.RequestException as error:
                host = urllib.parse.urlsplit(url).netloc
                raise OSError(f"no connection to {host} ({type(error).__name__})") from error
