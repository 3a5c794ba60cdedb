"""Files that are written whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from keras_coda.files import written_whole

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


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "table[1].csv"
    path.write_text("former")
    code = sys.modules[written_whole.__module__].__file__
    killed = subprocess.run([sys.executable, "-c", KILLED, code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "former"
    assert len(os.listdir(tmp_path)) == 2
    with written_whole(path) as file:
        file.write("new")
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "new"


def test_what_another_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "table.csv"
    other = tmp_path / ".table.csv.1.partial"
    fcntl = pytest.importorskip("fcntl")
    with open(other, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with written_whole(path) as mine:
            mine.write("mine")
    assert sorted(os.listdir(tmp_path)) == [other.name, path.name]
