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


class Lock:
    """A file that one at a time holds, which ends with the process, however hard.

    Windows has no such locks: there it is always free.

    Args:
        path: of the file, which is created.

    Attributes:
        taken: whether it is held by this object now. Another one, of this process or not, may hold it.
    """

    def __init__(self, path):
        self._path, self.taken = path, True
        while self.taken:
            self._file = open(path, "ab")  # noqa: SIM115 - as long as it is held
            try:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                self.taken = False
            except ImportError:
                return
            # Not of a file that its holder has removed since it was opened.
            if self.taken and path.exists() and os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                return

    def release(self):
        """Remove the file, and let others make it."""
        if self.taken:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self.taken = False


def sha256(path):
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
