"""Data sets, by name."""

import os
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from keras_coda.data import digits
from keras_coda.data.photos import is_folder, load_photos
from keras_coda.data.stored_images import StoredImages


class Dataset(NamedTuple):
    """Images with integer labels, in a training and a test part, and the readable names of the classes.

    Images are floats in [0, 1] or integers in 0..255, of shape `(N, H, W, C)`. They are arrays, or `StoredImages` if
    they do not fit in memory: then `images[indices]` is an array.

    Example:

    >>> dataset = keras_coda.data.Dataset(x_train, y_train, x_test, y_test, classes)
    """

    x_train: np.ndarray | StoredImages
    y_train: np.ndarray
    x_test: np.ndarray | StoredImages
    y_test: np.ndarray
    classes: list


def _digits(data_dir):
    (x_train, y_train), (x_test, y_test) = digits.load_digits()
    return Dataset(x_train, y_train, x_test, y_test, digits.CLASSES)


def _tfds(name, test="test"):
    def load(data_dir):
        tfds = _import_tfds(name)
        from keras_coda.data.reachable import check_reachable

        builder = tfds.builder(name, data_dir=data_dir)
        if find_spec("tensorflow") is None:
            return _without_tensorflow(builder, ("train", test))
        if not builder.is_prepared():
            try:
                check_reachable(builder.url_infos or (), builder.data_dir_root)
            except OSError as error:
                raise OSError(
                    f"{name} cannot be downloaded: {error}. Expected: a network; or the folder {name} that "
                    f'`keras_coda.data.load("{name}")` makes in ~/tensorflow_datasets where there is one, copied into '
                    f"{builder.data_dir_root}"
                ) from error
        splits, info = tfds.load(name, batch_size=-1, with_info=True, data_dir=data_dir)
        train, held_out = (tfds.as_numpy(splits[split]) for split in ("train", test))
        names = info.features["label"].names
        return Dataset(train["image"], train["label"], held_out["image"], held_out["label"], names)

    return load


def _without_tensorflow(builder, splits):
    """A data set that was prepared as array_record, the only format that TFDS reads without TensorFlow."""
    if not (builder.is_prepared() and builder.info.file_format.value == "array_record"):
        raise ImportError(
            f"{builder.name} needs TensorFlow, which is not installed: pip install tensorflow. Or prepare it elsewhere "
            f'by tfds.builder("{builder.name}", file_format="array_record").download_and_prepare() and copy the folder '
            f"{builder.name} from ~/tensorflow_datasets into {builder.data_dir_root}: that is read without TensorFlow"
        )
    parts: list[Any] = []
    for split in splits:
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        parts += [np.stack([example["image"] for example in examples]), np.array([e["label"] for e in examples])]
    x_train, y_train, x_test, y_test = parts
    return Dataset(x_train, y_train, x_test, y_test, builder.info.features["label"].names)


def _imagenet100(data_dir):
    _import_tfds("imagenet100")
    from keras_coda.data.imagenet100 import load_imagenet100

    return Dataset(*load_imagenet100(data_dir))


def _import_tfds(name):
    try:
        import tensorflow_datasets

        # Importing the module registers its data set with TFDS.
        from keras_coda.data import tiny_imagenet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{name} comes from TensorFlow Datasets, which is not installed: pip install "keras-coda[data,tensorflow]"'
        ) from error
    return tensorflow_datasets


def _npz(path):
    """The data set in an .npz file, with arrays named as in those of Keras."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[key] for key in Dataset._fields[:4]]
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be an .npz file of arrays {', '.join(Dataset._fields[:4])}: {error}") from error
    x_train, y_train, x_test, y_test = arrays
    if x_train.ndim == x_test.ndim == 3:  # gray images, as in Keras' mnist.npz
        x_train, x_test = x_train[..., np.newaxis], x_test[..., np.newaxis]
    shapes = {images.shape[1:] for images in (x_train, x_test)}
    if len(shapes) > 1 or x_train.ndim != 4 or any(images.dtype.kind not in "buif" for images in (x_train, x_test)):
        raise ValueError(
            f"{path} must have numbers of shape (N, H, W, C) or (N, H, W) as images, of one shape in both parts. "
            f"Received: {x_train.dtype} of {x_train.shape} as x_train, {x_test.dtype} of {x_test.shape} as x_test"
        )
    if x_train.shape[1] in (1, 3) and x_train.shape[2] == x_train.shape[3] > 4:
        raise ValueError(
            f"{path} must have images with channels last, (N, H, W, C). Received: {x_train.shape} as x_train"
        )
    y_train, y_test = _labels(path, "train", x_train, y_train), _labels(path, "test", x_test, y_test)
    classes = [str(label) for label in range(int(max(y_train.max(), y_test.max())) + 1)]
    return Dataset(x_train, y_train, x_test, y_test, classes)


def _labels(path, part, images, labels):
    """The labels of a part of an .npz file as an array `(N,)`."""
    count = len(images)
    if labels.dtype.kind in "bf" and np.all(labels == np.floor(labels)):
        labels = labels.astype("int64")
    integers = labels.dtype.kind in "iu" and labels.shape in ((count,), (count, 1))
    if not (integers and count and labels.min() >= 0):
        raise ValueError(
            f"{path} must have an integer label, 0 or more, for each image: y_{part} of shape (N,) or (N, 1). "
            f"Received: an array of {labels.dtype} and shape {labels.shape} for {count} images in x_{part}"
        )
    return labels.reshape(-1)


_LOADERS = {
    "digits": _digits,
    "mnist": _tfds("mnist"),
    "cifar10": _tfds("cifar10"),
    "cifar100": _tfds("cifar100"),
    "imagenet100": _imagenet100,
    "tiny_imagenet": _tfds("tiny_imagenet", test="validation"),
}
# What `load` takes beside paths.
NAMES = tuple(_LOADERS)


def is_photos(name: str | os.PathLike) -> bool:
    """Whether `load` takes the name of a data set as that of a folder of photos."""
    return name not in _LOADERS and is_folder(name)


def load(
    name: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    image_shape: Sequence[int | None] | None = None,
) -> Dataset:
    """Load a data set by its name, from an .npz file, or from a folder of photos.

    "digits" is scikit-learn's, enlarged, see `load_digits`. TFDS provides "mnist", "cifar10", "cifar100" (with its 100
    fine labels), "tiny_imagenet" and "imagenet100" (the first 100 classes of ImageNet, ILSVRC 2012). The first call
    downloads and prepares them, which takes minutes. ImageNet's archives have to be downloaded by hand. For the last
    two data sets the test part is the validation images, since the labels of their test images are not published.

    Images are arrays, except for "imagenet100", which has `StoredImages`. They are decoded when they are used, scaled
    to 256 pixels on the shorter side, and cropped to 240 x 240 about the centre.

    Args:
        name: one of the names above; or the path of an .npz file with arrays x_train, y_train, x_test and y_test, whose
            labels are integers, and whose classes are named by their numbers (gray images may be without a channel
            axis); or the path of a folder of photos, see `Photos`, whose test part is "test", or "validation" if there
            is no "test". A name takes precedence over a folder of that name: write "./name" for the folder.
        data_dir: folder in which TFDS keeps its data. Default: ~/tensorflow_datasets.
        image_shape: `(H, W, C)` to which the photos of a folder are scaled, see `Photos`. Default: chosen by their
            size. It has no effect on other data sets.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: the name is unknown, the file lacks an array or has other labels, or the folder has another layout.
        ImportError: TFDS or TensorFlow is needed, and not installed. Only data sets that TFDS has prepared as
            array_record are read without TensorFlow.
        OSError: the download fails, or has to be done by hand. The message says which files go where.

    Example:

    >>> keras_coda.data.load("digits").x_train.shape
    (1437, 16, 16, 1)
    """
    if str(name).endswith(".npz"):
        return _npz(name)
    if is_photos(name):
        return Dataset(*load_photos(name, image_shape))
    if name not in _LOADERS:
        raise ValueError(
            f"No data set {str(name)!r}. Expected one of {sorted(_LOADERS)}, an .npz file, or a folder of photos"
        )
    return _LOADERS[name](data_dir)
