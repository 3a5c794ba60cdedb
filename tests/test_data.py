"""Data sets."""

import numpy as np
import pytest
from sklearn import datasets

from keras_coda import data


def test_digits_are_sklearns_enlarged_in_two_disjoint_parts():
    (x_train, y_train), (x_test, y_test) = data.load_digits(image_size=8)
    assert x_train.shape == (1437, 8, 8, 1)
    assert x_test.shape == (360, 8, 8, 1)
    assert x_train.dtype == "float32"
    rows = np.concatenate([x_train, x_test]).reshape(1797, -1)
    originals = datasets.load_digits().data / 16.0
    # The same images, in another order, each with its label.
    order, original_order = np.lexsort(rows.T), np.lexsort(originals.T)
    np.testing.assert_allclose(rows[order], originals[original_order], atol=1e-6)
    labels = np.concatenate([y_train, y_test])
    np.testing.assert_array_equal(labels[order], datasets.load_digits().target[original_order])
    # Stratified: as many of each class in a hundred as in the whole.
    np.testing.assert_allclose(np.bincount(y_test) / 360, np.bincount(labels) / 1797, atol=0.002)


def test_enlarged_digits_stay_in_the_unit_range_and_look_the_same():
    (small, labels), _ = data.load_digits(image_size=8)
    (large, same_labels), _ = data.load_digits()
    assert large.shape == (1437, 16, 16, 1)
    assert large.min() >= 0
    assert large.max() <= 1
    np.testing.assert_array_equal(labels, same_labels)
    shrunk = large.reshape(-1, 8, 2, 8, 2, 1).mean(axis=(2, 4))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.98


def test_unknown_data_sets_are_refused_by_name():
    with pytest.raises(ValueError, match=r"No data set 'nonsense'.*digits"):
        data.load("nonsense")


def test_cifar10_of_tfds_comes_as_arrays_with_its_classes(tmp_path, rng):
    """TFDS' own builder, with images of this test's in the place of the downloaded ones."""
    tfds = pytest.importorskip("tensorflow_datasets")
    images = {
        "train": rng.integers(0, 256, (7, 32, 32, 3), "uint8"),
        "test": rng.integers(0, 256, (3, 32, 32, 3), "uint8"),
    }
    builder = tfds.builder("cifar10", data_dir=tmp_path)
    builder.info.features["label"].names = [f"class {label}" for label in range(10)]
    builder._split_generators = lambda *_: {
        split: (
            (i, {"id": str(i), "image": image, "label": int(image.max()) % 10}) for i, image in enumerate(images[split])
        )
        for split in images
    }
    builder.download_and_prepare()
    dataset = data.load("cifar10", tmp_path)
    for split, found, labels in (("train", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)):
        assert found.dtype == "uint8"
        # TFDS shuffles; each image still has its label.
        np.testing.assert_array_equal(sorted(map(bytes, found)), sorted(map(bytes, images[split])))
        np.testing.assert_array_equal(labels, found.max((1, 2, 3)) % 10)
    assert dataset.classes == [f"class {label}" for label in range(10)]
