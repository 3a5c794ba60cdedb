"""A data set in a folder of arrays that `scripts/gpu_unpack.py` made."""

import pathlib
import time

import numpy as np

from keras_coda.data import Dataset
from keras_coda.data.wordnet import first_names

NAMES = ("x_train", "y_train", "x_test", "y_test")
# The file that marks complete arrays. Before, parts of TinyImageNet's arrays are zeros.
COMPLETE = "complete"


def load(folder, complete=True):
    """The `Dataset` in a folder: images `(N, H, W, 3)` uint8, mapped from the disk, and labels `(N,)` int32.

    Args:
        folder: path, of x_train.npy, y_train.npy, x_test.npy, y_test.npy; classes.txt, a name a line, or wnids.txt
            and words.txt of WordNet; and a file "complete".
        complete: whether all images must be there. If not, shapes and classes are right, and images may be black.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    folder = pathlib.Path(folder)
    if complete and not (folder / COMPLETE).is_file():
        raise FileNotFoundError(f"{folder} has not all images. Expected: the file {COMPLETE!r} of gpu_unpack.py")
    x_train, y_train, x_test, y_test = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES)
    if (folder / "classes.txt").is_file():
        classes = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    else:
        classes = first_names((folder / "wnids.txt").read_text().split(), (folder / "words.txt").read_text())
    return Dataset(x_train, y_train.astype("int32").ravel(), x_test, y_test.astype("int32").ravel(), classes)


def wait(folder, seconds):
    """Wait up to `seconds` until all images of a folder are there, and `load` it."""
    until = time.monotonic() + seconds
    while not (pathlib.Path(folder) / COMPLETE).is_file() and time.monotonic() < until:
        time.sleep(0.2)
    return load(folder)
