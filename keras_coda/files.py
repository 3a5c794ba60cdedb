"""Files that are written whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def written_whole(path):
    """A text file to write, which takes the name `path` when all of it is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
