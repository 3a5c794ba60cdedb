"""Data sets, by name."""

import zipfile
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from keras_coda.data import digits
from keras_coda.data.photos import is_folder, load_photos
from keras_coda.data.stored_images import StoredImages


class Dataset(NamedTuple):
    """Images with integer labels, in a training and a test part, and the classes' readable names.

    Images are floats in [0, 1] or integers in 0..255, of shape `(N, H, W, C)`: arrays, or, where they do not fit in
    memory, `StoredImages`, of which `images[indices]` is an array.
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
        from keras_coda.data.download import check_reachable

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
    """A data set that is prepared as array_record, all that TFDS does without TensorFlow."""
    if not (builder.is_prepared() and builder.info.file_format.value == "array_record"):
        raise ImportError(
            f"{builder.name} needs TensorFlow, which is not installed: pip install tensorflow. Or prepare it elsewhere "
            f'by tfds.builder("{builder.name}", file_format="array_record").download_and_prepare() and copy the folder '
            f"{builder.name} from ~/tensorflow_datasets into {builder.data_dir_root}: that is read without TensorFlow"
        )
    parts = []
    for split in splits:
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        parts += [np.stack([example["image"] for example in examples]), np.array([e["label"] for e in examples])]
    return Dataset(*parts, builder.info.features["label"].names)


def _imagenet100(data_dir):
    _import_tfds("imagenet100")
    from keras_coda.data.imagenet100 import load_imagenet100

    return Dataset(*load_imagenet100(data_dir))


def _import_tfds(name):
    try:
        import tensorflow_datasets

        # Its import makes it known to TFDS.
        from keras_coda.data import tiny_imagenet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{name} comes from TensorFlow Datasets, which is not installed: pip install "keras-coda[data,tensorflow]"'
        ) from error
    return tensorflow_datasets


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
    "cifar100": _tfds("cifar100"),
    "imagenet100": _imagenet100,
    "tiny_imagenet": _tfds("tiny_imagenet", test="validation"),
}


def load(name, data_dir=None, image_shape=None):
    """The data set called `name`, or that of a file or a folder of photos.

    "digits" is scikit-learn's, enlarged, see `load_digits`. By TFDS come "mnist", "cifar10", "cifar100" with its 100
    fine labels, "tiny_imagenet" and "imagenet100", the first 100 classes of ImageNet (ILSVRC 2012). They are downloaded
    and prepared when they are first loaded, in minutes; ImageNet's archives have to be fetched by hand. The test images
    of the last two have no published labels: their test part is the validation images.

    Images are arrays, but for "imagenet100": its are `StoredImages`, decoded when they are taken, scaled to 256 pixels
    on the shorter side and cut to 240 x 240 about the centre.

    Args:
        name: string, or the path of an .npz file with arrays x_train, y_train, x_test and y_test, of which the classes
            are called by their numbers, or of a folder of photos, see `Photos`: its test part is "test", or
            "validation" where that is missing. A name comes before a folder of that name: write "./name".
        data_dir: where TFDS keeps its data. Default: its own, ~/tensorflow_datasets.
        image_shape: `(H, W, C)` that the photos of a folder are scaled to, see `Photos`. Default: by their size. For
            other data sets, which have shapes of their own, it has no effect.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: there is none of that name, the file has not these arrays, or the folder not this form.
        ImportError: it needs TFDS, or TensorFlow, which is not installed. Data sets that TFDS has prepared as
            array_record are read without TensorFlow.
        OSError: it cannot be downloaded, or has to be fetched by hand: what, and where to put it.

    Example:

    >>> keras_coda.data.load("digits").x_train.shape
    (1437, 16, 16, 1)
    """
    if str(name).endswith(".npz"):
        return _npz(name)
    if name not in _LOADERS and is_folder(name):
        return Dataset(*load_photos(name, image_shape))
    if name not in _LOADERS:
        raise ValueError(
            f"No data set {str(name)!r}. Expected one of {sorted(_LOADERS)}, an .npz file, or a folder of photos"
        )
    return _LOADERS[name](data_dir)
