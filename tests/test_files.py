"""Files that are written whole or not at all."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from keras_coda import files
from keras_coda.files import Lock, beside, written_whole

pytestmark = pytest.mark.one_backend

# Without the package, which would import Keras.
KILLED = """
import importlib.util, os, pathlib, signal, sys
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
with files.written_whole(pathlib.Path(sys.argv[2])) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "table[1].csv"
    path.write_text("former")
    code = sys.modules[written_whole.__module__].__file__
    killed = subprocess.run([sys.executable, "-c", KILLED, code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "former"
    (left,) = set(tmp_path.iterdir()) - {path}
    with written_whole(path) as file:
        file.write("newer")
    assert left.exists()  # since it is young: another process may be about to lock it
    age(left, files.OLD + 1)
    with written_whole(path) as file:
        file.write("new")
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "new"


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path):
    path = tmp_path / f"{'写' * 83}.png"  # 253 bytes of at most 255
    with written_whole(path) as file:
        file.write("whole")
    assert path.read_text() == "whole"
    beside(path).mkdir()


def test_a_folder_that_cannot_be_put_back_is_kept(tmp_path, monkeypatch):
    folder, complete = tmp_path / "preset", tmp_path / "new"
    for path in (folder, complete):
        path.mkdir()
        (path / "weights").write_text(path.name)
    rename, calls = pathlib.Path.rename, []

    def fails_later(self, target):
        calls.append(self)
        if len(calls) > 1:
            raise OSError("no more")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", fails_later)
    with pytest.raises(OSError, match="no more"):
        files.move_folder(complete, folder)
    assert sorted(path.read_text() for path in tmp_path.rglob("weights")) == ["new", "preset"]


@pytest.mark.parametrize("length", [60, 253])
def test_what_is_left_beside_a_folder_is_told_from_that_of_others(tmp_path, length):
    """Though their names are alike up to the last letter."""
    one, other = (tmp_path / ("a" * length + letter) for letter in "12")
    left = [beside(one) for _ in range(2)]
    for folder in (*left, beside(other), one):
        folder.mkdir()
    assert {*files.left_beside(one)} == {*left}


def test_what_another_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "table.csv"
    other = tmp_path / ".table.csv.1.partial"
    fcntl = pytest.importorskip("fcntl")
    with open(other, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        age(other, files.OLD + 1)
        with written_whole(path) as mine:
            mine.write("mine")
    assert sorted(os.listdir(tmp_path)) == [other.name, path.name]


def test_two_that_write_the_same_file_in_one_process_do_not_mix(tmp_path):
    path = tmp_path / "table.csv"
    with written_whole(path) as first:
        first.write("first")
        with written_whole(path) as second:
            second.write("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == [path.name]


def test_where_there_are_no_locks_a_lock_is_free(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def fail(number):
        def flock(file, operation):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    for number in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        fail(number)
        lock = Lock(tmp_path / "lock")
        assert lock.taken
        lock.release()
    assert not any(tmp_path.iterdir())
    fail(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        Lock(tmp_path / "lock")
