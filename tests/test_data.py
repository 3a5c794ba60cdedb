"""Data sets."""

import io
import json
import pathlib
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from keras_coda import data

pytestmark = pytest.mark.one_backend


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
    # Stratified: each class has the same share as in the whole.
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


def test_enlarged_digits_are_the_same_on_every_backend():
    """Equal sums on every backend, and equal to PyTorch's own bicubic interpolation."""
    (images, _), _ = data.load_digits()
    ramp = np.linspace(0, 1, images[0].size)
    np.testing.assert_allclose(images.mean(dtype="float64"), 0.312831280730981, rtol=1e-7)
    np.testing.assert_allclose(images[:3].reshape(3, -1) @ ramp, [38.33922, 39.80261, 40.66635], rtol=1e-6)
    torch = pytest.importorskip("torch")
    (originals, _), _ = data.load_digits(image_size=8)
    wanted = torch.nn.functional.interpolate(
        torch.tensor(originals[:200, ..., 0])[:, None], (16, 16), mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(images[:200, ..., 0], wanted[:, 0].clip(0, 1), atol=1e-6)


def test_a_name_takes_precedence_over_a_folder(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not data.dataset.is_photos("digits")
    assert data.dataset.is_photos("./digits")


def test_unknown_data_sets_are_refused_by_name():
    with pytest.raises(ValueError, match=r"No data set 'nonsense'.*digits"):
        data.load("nonsense")


@pytest.mark.parametrize(
    ("name", "classes", "file_format"),
    [("cifar10", 10, "tfrecord"), ("cifar100", 100, "tfrecord"), ("cifar10", 10, "array_record")],
)
def test_cifar_of_tfds_comes_as_arrays_with_its_classes(tmp_path, rng, monkeypatch, name, classes, file_format):
    """TFDS' own builder, with this test's images instead of downloaded ones."""
    tfds = pytest.importorskip("tensorflow_datasets")
    images = {
        "train": rng.integers(0, 256, (7, 32, 32, 3), "uint8"),
        "test": rng.integers(0, 256, (3, 32, 32, 3), "uint8"),
    }
    builder = tfds.builder(name, data_dir=tmp_path, file_format=file_format)
    features = builder.info.features
    features["label"].names = [f"class {label}" for label in range(classes)]
    if name == "cifar100":
        features["coarse_label"].names = [f"kind {label}" for label in range(20)]

    def examples(split):
        for i, image in enumerate(images[split]):
            labels = {"label": int(image.max()) % classes, "coarse_label": i}
            yield i, {"id": str(i), "image": image, **{key: labels[key] for key in labels.keys() & features.keys()}}

    builder._split_generators = lambda *_: {split: examples(split) for split in images}
    builder.download_and_prepare()
    if file_format == "array_record":
        # Read by TFDS' data source, as where there is no TensorFlow.
        monkeypatch.setattr(tfds, "load", None)
        without_tensorflow(monkeypatch)
    dataset = data.load(name, tmp_path)
    for split, found, labels in (("train", dataset.x_train, dataset.y_train), ("test", dataset.x_test, dataset.y_test)):
        assert found.dtype == "uint8"
        # TFDS shuffles. Each image must keep its label.
        np.testing.assert_array_equal(sorted(map(bytes, found)), sorted(map(bytes, images[split])))
        np.testing.assert_array_equal(labels, found.max((1, 2, 3)) % classes)
    assert dataset.classes == [f"class {label}" for label in range(classes)]


def without_tensorflow(monkeypatch):
    monkeypatch.setattr("keras_coda.data.dataset.find_spec", lambda name: None)


def test_without_tensorflow_a_data_set_says_what_it_needs(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    without_tensorflow(monkeypatch)
    with pytest.raises(ImportError, match=r"mnist needs TensorFlow.*pip install tensorflow\. Or .*array_record"):
        data.load("mnist", tmp_path)


def test_without_a_network_a_data_set_says_at_once_what_to_do(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    requests = pytest.importorskip("requests")
    from keras_coda.data import reachable

    asked = []

    def fail(url, timeout):
        asked.append(url)
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "head", fail)
    with pytest.raises(
        OSError, match=r"cifar100 cannot be downloaded: no connection to www.cs.toronto.edu.*Expected: "
    ):
        data.load("cifar100", tmp_path)
    # Archives that TFDS has downloaded before are not checked.
    (url,) = asked
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "archive.INFO").write_text(json.dumps({"urls": [url]}))
    reachable.check_reachable([url], tmp_path)
    assert asked == [url]


def tiny_imagenet_archive(folder, rng):
    """The layout of the official archive: two training images a class, one validation image, one of them gray."""
    root = folder / "tiny-imagenet-200"
    wnids = [f"n{number:08}" for number in rng.permutation(200)]
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(wnids))
    # Two classes with the same first name.
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

    from keras_coda.data import tiny_imagenet

    monkeypatch.setattr(tiny_imagenet, "check_reachable", lambda urls, root: None)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(OSError, match=r"could not be downloaded from http.*no network.*manual directory"):
        data.load("tiny_imagenet", tmp_path)


def tar_of(files):
    """The bytes of a tar archive of `(name, bytes)`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def jpeg(shade, size):
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, 255 - shade, 100)).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


VALIDATION_IMAGES = 60


def imagenet_archives(folder):
    """The layout of the official archives: three of the first hundred classes and two others, and validation images.

    The images of a class have one colour and several sizes. TFDS knows the labels of the validation images.

    Returns:
        The WordNet ids of all classes, in the order of their labels, and the labels of the validation images.
    """
    tfds = pytest.importorskip("tensorflow_datasets")
    wnids = tfds.core.tfds_path("datasets/imagenet2012/labels.txt").read_text().split()
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    validation = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt").read_text().split()
    labels = [label_of[wnid] for wnid in validation[:VALIDATION_IMAGES]]
    folder.mkdir(parents=True)
    training = [
        (
            f"{wnids[label]}.tar",
            tar_of((f"{wnids[label]}_{n}.JPEG", jpeg(label % 100, (300 + n, 500 - n))) for n in range(2)),
        )
        for label in (5, 150, 3, 100, 99)
    ]
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(training))
    # Not in the order of their names, from which TFDS finds the labels.
    files = [(f"ILSVRC2012_val_{n + 1:08}.JPEG", jpeg(label % 100, (280, 260))) for n, label in enumerate(labels)]
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(reversed(files)))
    return wnids, labels


@pytest.mark.parametrize("source", ["archives", "imagenet2012"])
def test_imagenet100_are_the_first_hundred_classes(tmp_path, source):
    tfds = pytest.importorskip("tensorflow_datasets")
    manual = tmp_path / "downloads" / "manual"
    wnids, labels = imagenet_archives(manual)
    if source == "imagenet2012":
        tfds.builder("imagenet2012", data_dir=tmp_path).download_and_prepare()
        shutil.rmtree(manual)
    dataset = data.load("imagenet100", tmp_path)
    assert dataset.classes == wnids[:100]
    assert sorted(dataset.y_train) == [3, 3, 5, 5, 99, 99]
    assert sorted(dataset.y_test) == sorted(label for label in labels if label < 100)
    for images, its_labels in ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)):
        assert images.shape == (len(its_labels), 240, 240, 3)
        colours = np.stack([its_labels, 255 - its_labels, np.full_like(its_labels, 100)], axis=-1)
        assert np.abs(images[:].astype(int) - colours[:, np.newaxis, np.newaxis]).max() <= 3
    sizes = {image.shape for image in dataset.x_train.whole(range(6))}
    assert sizes == {(256 * 500 // 300, 256, 3), (256 * 499 // 301, 256, 3)}
    # Another process gets the same images.
    copy = pickle.loads(pickle.dumps(dataset.x_train))
    np.testing.assert_array_equal(copy[[4, 1]], dataset.x_train[[4, 1]])


def test_imagenet100_says_what_is_to_be_put_where(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(
        OSError, match=r"fetched by hand, from https://image-net.org.*Missing: ILSVRC2012_img_train.tar and"
    ):
        data.load("imagenet100", tmp_path)
    manual = tmp_path / "downloads" / "manual"
    imagenet_archives(manual)
    (manual / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(OSError, match=rf"{manual}.*Missing: ILSVRC2012_img_val.tar$"):
        data.load("imagenet100", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.eye(10, dtype=int)}, r"y_train .* int64 and shape \(10, 10\) for 10 images"),
        ({"y_train": np.arange(12)}, r"y_train .*shape \(12,\) for 10 images"),
        ({"y_test": np.arange(4) + 0.5}, r"y_test .* float64"),
        ({"y_test": np.array(["a"] * 4)}, r"y_test .* <U1"),
        ({"y_train": np.arange(10) - 1}, "0 or more"),
        (
            {"x_test": np.zeros((4, 5, 5, 1))},
            r"of one shape.* of \(10, 6, 6, 1\) as x_train, .* of \(4, 5, 5, 1\) as x",
        ),
        ({"x_test": np.zeros((4, 6, 6))}, r"of one shape.* of \(10, 6, 6, 1\) as x_train, .* of \(4, 6, 6\) as x_test"),
        ({"x_train": np.zeros((10, 6)), "x_test": np.zeros((4, 6))}, r"\(N, H, W, C\) or \(N, H, W\).*\(10, 6\)"),
        ({"x_train": np.full((10, 6, 6, 1), "a")}, r"must have numbers .* <U1 of \(10, 6, 6, 1\) as x_train"),
        ({"x_train": np.zeros((10, 6, 6, 1), complex)}, r"must have numbers .* complex128"),
        (
            {"x_train": np.zeros((10, 3, 8, 8)), "x_test": np.zeros((4, 3, 8, 8))},
            r"channels last, \(N, H, W, C\)\. Received: \(10, 3, 8, 8\) as x_train",
        ),
        ({"x_test": np.zeros((0, 6, 6, 1)), "y_test": np.zeros(0, int)}, "for 0 images in x_test"),
    ],
)
def test_arrays_of_a_file_that_do_not_fit_together(tmp_path, changes, message):
    arrays = {"x_train": np.zeros((10, 6, 6, 1)), "y_train": np.arange(10), "x_test": np.zeros((4, 6, 6, 1))}
    np.savez(tmp_path / "a.npz", **{**arrays, "y_test": np.arange(4)[:, None], **changes})
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "a.npz")


def test_gray_images_of_a_file_get_an_axis_of_channels(tmp_path, rng):
    """As in Keras' mnist.npz."""
    images, labels = rng.integers(0, 256, (5, 6, 7), "uint8"), np.array([[0.0], [1.0], [0.0], [1.0], [0.0]])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=[2, 0, 1])
    dataset = data.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.x_train, images[..., np.newaxis])
    np.testing.assert_array_equal(dataset.x_test, images[:3, ..., np.newaxis])
    assert dataset.x_train.dtype == "uint8"
    np.testing.assert_array_equal(dataset.y_train, [0, 1, 0, 1, 0])
    assert dataset.y_train.dtype.kind == "i"
    assert dataset.classes == ["0", "1", "2"]


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 6, 6, 1)))


@pytest.mark.parametrize("write", [pathlib.Path.touch, one_array])
def test_what_is_no_file_of_several_arrays(tmp_path, write):
    write(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz must be an \.npz file of arrays x_train, y_train, x_test, y_test: "):
        data.load(tmp_path / "a.npz")
