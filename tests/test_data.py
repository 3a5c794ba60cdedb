"""Data sets."""

import shutil

import numpy as np
import pytest
from PIL import Image
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


def tiny_imagenet_archive(folder, rng):
    """The layout of the official archive: two training images a class, one validation image, one of them gray."""
    root = folder / "tiny-imagenet-200"
    wnids = [f"n{number:08}" for number in rng.permutation(200)]
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(wnids))
    # Two classes whose first names are the same.
    words = [f"{wnid}\t{'twin' if i < 2 else f'class {i}'}, another name" for i, wnid in enumerate(wnids)]
    (root / "words.txt").write_text("\n".join([*reversed(words), "n99999999\tno class of these"]))
    annotations = []

    def draw(path, label):
        colour = (label, 255 - label, 100)
        image = Image.new("RGB", (64, 64), colour)
        (image.convert("L") if label == 7 else image).save(path, quality=95)

    for label, wnid in enumerate(wnids):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        for number in range(2):
            draw(images / f"{wnid}_{number}.JPEG", label)
        draw(root / "val" / "images" / f"val_{label}.JPEG", label)
        annotations.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t63\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(annotations))
    return root


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_tiny_imagenet_is_built_from_the_archive(tmp_path, rng, form):
    pytest.importorskip("tensorflow_datasets")
    manual = tmp_path / "downloads" / "manual"
    root = tiny_imagenet_archive(manual, rng)
    if form == "zip":
        shutil.make_archive(manual / "tiny-imagenet-200", "zip", manual, root.name)
        shutil.rmtree(root)
    dataset = data.load("tiny_imagenet", tmp_path)
    assert dataset.x_train.shape == (400, 64, 64, 3)
    assert dataset.x_test.shape == (200, 64, 64, 3)
    assert dataset.x_train.dtype == "uint8"
    np.testing.assert_array_equal(np.bincount(dataset.y_train), 2)
    np.testing.assert_array_equal(np.bincount(dataset.y_test), 1)
    for images, labels in ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)):
        coloured = labels != 7
        assert np.abs(images[coloured, 32, 32, 0].astype(int) - labels[coloured]).max() <= 2
        gray = images[~coloured].astype(int)
        assert np.ptp(gray, axis=-1).max() == 0
    assert dataset.classes[2:] == [f"class {label}" for label in range(2, 200)]
    assert all(name.startswith("twin (n") for name in dataset.classes[:2])
    assert len(set(dataset.classes)) == 200


def test_tiny_imagenet_without_archive_and_network_says_where_to_put_it(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def fail(manager, url):
        raise ConnectionError("no network")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(OSError, match=r"could not be downloaded from http.*no network.*manual directory"):
        data.load("tiny_imagenet", tmp_path)
