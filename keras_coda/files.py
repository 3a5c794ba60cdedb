"""Files that are written whole or not at all, and their checksums."""

import contextlib
import hashlib
import os


@contextlib.contextmanager
def written_whole(path, binary=False):
    """A file to write, of text in UTF-8 or of bytes, which takes the name `path` when all of it is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") if binary else open(partial, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path):
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
