"""Data sets in memory, by name."""

import zipfile
from typing import NamedTuple

import numpy as np

from keras_coda.data import digits


class Dataset(NamedTuple):
    """Images with integer labels, in a training and a test part, and the classes' readable names.

    Images are floats in [0, 1] or integers in 0..255, of shape `(N, H, W, C)`.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: list


def _digits(data_dir):
    (x_train, y_train), (x_test, y_test) = digits.load_digits()
    return Dataset(x_train, y_train, x_test, y_test, digits.CLASSES)


def _tfds(name, test="test"):
    def load(data_dir):
        try:
            import tensorflow_datasets as tfds

            # Its import makes it known to TFDS.
            from keras_coda.data import tiny_imagenet  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'{name} comes from TensorFlow Datasets, which is not installed: pip install "keras-coda[data]"'
            ) from error
        splits, info = tfds.load(name, batch_size=-1, with_info=True, data_dir=data_dir)
        train, held_out = (tfds.as_numpy(splits[split]) for split in ("train", test))
        names = info.features["label"].names
        return Dataset(train["image"], train["label"], held_out["image"], held_out["label"], names)

    return load


def _npz(path):
    """Arrays of the names that Keras' own data sets have in their .npz files."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[key] for key in Dataset._fields[:4]]
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be an .npz file of arrays {', '.join(Dataset._fields[:4])}: {error}") from error
    x_train, y_train, x_test, y_test = arrays
    y_train, y_test = y_train.reshape(-1), y_test.reshape(-1)
    classes = [str(label) for label in range(int(max(y_train.max(), y_test.max())) + 1)]
    return Dataset(x_train, y_train, x_test, y_test, classes)


_LOADERS = {
    "digits": _digits,
    "mnist": _tfds("mnist"),
    "cifar10": _tfds("cifar10"),
    "tiny_imagenet": _tfds("tiny_imagenet", test="validation"),
}


def load(name, data_dir=None):
    """The data set called `name`: "digits" (in memory), of TFDS "mnist", "cifar10" or "tiny_imagenet", or of a file.

    Of TinyImageNet, whose test images have no published labels, the test part is the validation images.

    Args:
        name: string, or the path of an .npz file with arrays x_train, y_train, x_test and y_test, of which the classes
            are called by their numbers.
        data_dir: where TFDS keeps its data. Default: its own, ~/tensorflow_datasets.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: there is none of that name, or the file has not these arrays.
        ImportError: it needs TFDS, which is not installed.

    Example:

    >>> keras_coda.data.load("digits").x_train.shape
    (1437, 16, 16, 1)
    """
    if str(name).endswith(".npz"):
        return _npz(name)
    if name not in _LOADERS:
        raise ValueError(f"No data set {name!r}. Expected one of {sorted(_LOADERS)}, or an .npz file")
    return _LOADERS[name](data_dir)
