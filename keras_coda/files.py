"""Files that are written whole or not at all, and their checksums."""

import contextlib
import glob
import hashlib
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def written_whole(path, binary=False):
    """A file to write, of text in UTF-8 or of bytes, which takes the name `path` when all of it is written.

    What a killed process left of it is removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(OSError), open(left, "ab") as file:
            if _is_held(file):
                left.unlink()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") if binary else open(partial, "w", newline="", encoding="utf-8") as file:
            _is_held(file)
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _is_held(file):
    """Take the lock of an open file, which ends with the process; whether it could be taken. Not on Windows."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (AttributeError, OSError):  # no locks here, or another process has it
        return False
    return True


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
            if fcntl is None:
                return
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                self.taken = False
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
