"""Files and folders that are written as a whole or not at all, locks, and checksums."""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import time
import uuid

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What file systems without locks say.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
# Seconds after which an incomplete file that nobody has locked is one that a killed process left.
OLD = 60
# Bytes of a name to which something is added. A whole one may have 255.
LONGEST = 200


@contextlib.contextmanager
def written_whole(path, binary=False):
    """A context that gives a file to write, for UTF-8 text or bytes. It gets the name `path` when it is complete.

    Incomplete files of killed processes are removed.
    """
    for left in path.parent.glob(f"{glob.escape(_hidden(path))}.*.partial"):
        with contextlib.suppress(OSError), open(left, "ab") as file:
            # Another process may have made a younger one, and not locked it yet.
            if time.time() - os.fstat(file.fileno()).st_mtime > OLD and _try_lock(file):
                left.unlink()
    partial = path.with_name(f"{_hidden(path)}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "wb") if binary else open(partial, "w", newline="", encoding="utf-8") as file:
            _try_lock(file)
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def beside(folder):
    """A new path in the same parent, with a hidden name. A folder is written there until it is complete."""
    return folder.with_name(f"{_hidden(folder)}.{uuid.uuid4().hex}")


def left_beside(folder):
    """The folders with names from `beside` that killed processes have left."""
    return folder.parent.glob(f"{glob.escape(_hidden(folder))}.{'[0-9a-f]' * 32}")


def move_folder(complete, folder, overwrite=True):
    """Give a complete folder the name `folder`. If this fails, what has that name stays as it is.

    Raises:
        OSError: there is such a folder, and `overwrite` is false; or another process has just made one.
    """
    former = beside(folder)
    if overwrite and folder.exists():
        folder.rename(former)
    try:
        complete.rename(folder)
    except BaseException:
        if former.exists() and not folder.exists():
            former.rename(folder)
        else:
            shutil.rmtree(former, ignore_errors=True)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _hidden(path):
    """A hidden name, to which 42 characters may be added. Long ones are cut, and told apart by a checksum."""
    name = os.fsencode(path.name)
    return f".{path.name}" if len(name) <= LONGEST else f".{path.name[:20]}.{hashlib.sha256(name).hexdigest()[:16]}"


def _try_lock(file):
    """Lock an open file until the process ends. Returns whether this was possible; on Windows it is not."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (AttributeError, OSError):  # no locks here, or another process has it
        return False
    return True


class Lock:
    """A file as a lock, which one object can hold. It is released when the process ends, even by a kill.

    Windows and some network file systems have no such locks: there it is always free.

    Kept by hand: every training would depend on the package filelock, which leaves its file behind.

    Args:
        path: path of the file, which is created.

    Attributes:
        taken: whether this object holds the lock. If not, another one does, in this or another process.
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
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                return
            # The former holder may have removed the file since it was opened. Then try again.
            if self.taken and path.exists() and os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                return

    def release(self):
        """Remove the file, so that others can lock it."""
        if self.taken:
            if fcntl is None:
                self._file.close()  # Windows does not remove open files.
            self._path.unlink(missing_ok=True)
            self._file.close()
            self.taken = False


@contextlib.contextmanager
def alone(path, what):
    """A context in which no other process is in such a context with the same `path`, a file that is a `Lock`.

    Args:
        path: `pathlib.Path` of the file. Its folder is made if it is not there.
        what: what writes to this folder, for the error.

    Raises:
        ValueError: another one has the lock.
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path)
    if not lock.taken:
        raise ValueError(
            f"Another {what} writes to {path.parent} now. Expected: one at a time. Wait for it, or write elsewhere."
        )
    try:
        yield
    finally:
        lock.release()


def sha256(path):
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
