"""Folders of photos: the files that are read, the split, and the problems that are reported."""

import io
import json
import os
import re
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from keras_coda import CoDANet, cli, data, presets, training
from keras_coda.data import photo_images
from keras_coda.data import photos as photos_module
from keras_coda.data.photo_images import PhotoImages
from keras_coda.data.photos import Fact
from keras_coda.decoding import decoded
from keras_coda.files import sha256
from keras_coda.images import read_image
from keras_coda.reports import Subject
from keras_coda.training import photo_recipes

RECIPE = {"filters": [2, 2], "kernel_sizes": [3, 1], "ranks": [1, 1], "strides": [2, 1]}


def picture(seed, size=(40, 36), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), "uint8")
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Two classes of 20 small photos, the blue ones darker."""
    for label, name in enumerate(("blue", "red")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            image = picture([label, number]).point(lambda value, label=label: value // (2 - label))
            image.save(tmp_path / "photos" / name / f"{number:02}.png")
    return tmp_path / "photos"


def names(photos):
    return {part: {path.name for path in images.paths} for part, (images, _) in photos.parts.items()}


def test_labels_are_those_of_the_folders(folder):
    photos = data.Photos(folder)
    assert photos.classes == ["blue", "red"]
    for images, labels in photos.parts.values():
        assert [path.parent.name for path in images.paths] == [photos.classes[label] for label in labels]
    assert sum(len(labels) for _, labels in photos.parts.values()) == 40
    assert photos.image_shape == (32, 32, 3)
    assert photos.problems() == []
    assert photos.summary().splitlines()[0].startswith("2 classes, train ")


def test_pixels_are_those_that_explain_reads(folder):
    images, _ = data.Photos(folder, (24, 20, 3)).parts["test"]
    assert isinstance(images, PhotoImages)
    for number, path in enumerate(images.paths):
        np.testing.assert_array_equal(images[number] / np.float32(255), read_image(path, (24, 20, 3)))
    np.testing.assert_array_equal(images[:2], np.stack([images[0], images[1]]))
    assert images[np.array([], int)].shape == (0, 24, 20, 3)
    grey = data.Photos(folder, (24, 20, 1)).parts["test"][0]
    np.testing.assert_array_equal(grey[0] / np.float32(255), read_image(grey.paths[0], (24, 20, 1)))


def test_a_photo_stays_in_its_part_when_others_come(folder):
    before = names(data.Photos(folder))
    for number in range(20):
        picture([7, number]).save(folder / "red" / f"new{number}.png")
    after = names(data.Photos(folder))
    # The first and the last of a class are always in different parts, and may move.
    moved = {part: before[part] - after[part] for part in before}
    assert sum(map(len, moved.values())) <= 2
    assert names(data.Photos(folder, seed=1)) != after


@pytest.mark.one_backend
def test_held_out_is_the_share_of_the_test(folder):
    few, many = (len(data.Photos(folder, held_out=share).parts["test"][1]) for share in (0.05, 0.8))
    assert few < 8
    assert many > 24


@pytest.mark.one_backend
def test_the_image_size_is_chosen_by_the_sizes_of_the_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            picture([ord(name), number], (640, 480)).save(tmp_path / name / f"{number}.jpg")
    photos = data.Photos(tmp_path)
    assert photos.sizes == [(640, 480)] * 4
    assert photos.image_shape == (128, 128, 3)
    assert data.Photos(tmp_path, (16, None, 1)).image_shape == (16, 16, 1)
    assert data.Photos(tmp_path, (None, 24, 3)).image_shape == (24, 24, 3)
    for least, side in ((47, 32), (48, 64), (159, 64), (160, 128)):
        for path in tmp_path.glob("*/*"):
            picture([least, *path.name.encode(), *path.parent.name.encode()], (least, 200)).save(path)
        assert data.Photos(tmp_path).image_shape == (side, side, 3)


@pytest.mark.one_backend
def test_a_file_that_changes_is_read_again(folder):
    """Though it keeps its size: the PNG files of two photos, which are not compressed, have the same."""
    path = folder / "red" / "plain.png"
    for seed in (0, 1):
        picture(seed).save(path, compress_level=0)
        os.utime(path, (seed, seed))
        assert photos_module._fact(path).digest == sha256(path)


@pytest.mark.one_backend
def test_copies_are_never_in_both_parts_and_each_class_is(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(200):
        # Few digests for many files, so that most have copies, often of other classes.
        digests = rng.integers(0, 12, 20)
        files = [(tmp_path / str(number), number % 3) for number in range(20)]
        facts = {path: Fact(str(digest), (8, 8), False) for (path, _), digest in zip(files, digests, strict=True)}
        parts = photos_module._split(files, facts, seed, 0.2)
        train, test = ({(facts[path].digest, label) for path, label in parts[part]} for part in ("train", "test"))
        assert sorted(parts["train"] + parts["test"]) == sorted(files)
        assert not {digest for digest, _ in train} & {digest for digest, _ in test}
        labels_of = {digest: {label for other, label in train | test if other == digest} for digest, _ in train | test}
        for label in range(3):
            assert label in {of for _, of in train}
            if sum(labels == {label} for labels in labels_of.values()) > 1:
                assert label in {of for _, of in test}


@pytest.mark.one_backend
def test_large_files_of_other_types_are_not_read_whole(folder):
    with open(folder / "red" / "clip.mp4", "wb") as file:
        file.truncate(2**26)
    tracemalloc.start()
    photos = data.Photos(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert photos.left_out == {folder / "red" / "clip.mp4": "no JPEG, PNG or WebP image"}
    assert most < 2**24


@pytest.mark.one_backend
def test_photos_of_too_many_pixels_are_those_that_explain_refuses(folder, monkeypatch):
    for side in (41, 60):  # one for which Pillow has a warning, and one for which it has an error
        picture(side, (side, 40)).save(folder / "red" / f"{side}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40)
    reason = "more than 1,600 pixels"
    assert data.Photos(folder).left_out == {folder / "red" / "41.png": reason, folder / "red" / "60.png": reason}
    for path in (folder / "red").iterdir():
        if path.name in ("41.png", "60.png"):
            with pytest.raises(ValueError, match="must have at most 1,600 pixels"):
                read_image(path, (32, 32, 3))
        else:
            read_image(path, (32, 32, 3))
    monkeypatch.undo()
    assert data.Photos(folder).left_out == {}  # also after a refusal


def test_a_split_that_is_there_stays(tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for label, name in enumerate(("a", "b")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                picture([label, number, count]).save(tmp_path / part / name / f"{number}.jpg")
    photos = data.Photos(tmp_path)
    assert {part: len(labels) for part, (_, labels) in photos.parts.items()} == {"train": 6, "validation": 4, "test": 2}
    dataset = data.load(f"{tmp_path}/")
    assert dataset.x_test.paths == photos.parts["test"][0].paths
    (tmp_path / "test" / "c").mkdir()
    with pytest.raises(ValueError, match=r"must have the classes of the training, \['a', 'b'\]. Received: \['c'\]"):
        data.Photos(tmp_path)


@pytest.mark.one_backend
def test_two_folders_for_one_part_are_refused(folder, tmp_path):
    for part in ("train", "val", "validation"):
        shutil.copytree(folder, tmp_path / "split" / part)
    expected = r"split must have one folder for each of train, validation and test\..*'val'.*'validation'"
    with pytest.raises(ValueError, match=expected):
        data.Photos(tmp_path / "split")


def test_what_is_wrong_is_named(folder):
    content = (folder / "red" / "00.png").read_bytes()
    (folder / "red" / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "red" / "text.jpg").write_text("no image")
    (folder / "red" / ".DS_Store").write_text("")
    (folder / "red" / "link.png").symlink_to("nowhere.png")
    (folder / "red" / "more").mkdir()
    (folder / "notes.txt").write_text("")
    (folder / "red" / "copy.png").write_bytes(content)
    (folder / "blue" / "twin.jpg").write_bytes((folder / "red" / "01.png").read_bytes())
    Image.new("RGB", (30, 30), "white").save(folder / "blue" / "blank.webp")
    picture(0).convert("RGB", (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).save(folder / "red" / "red_alone.png")
    photos = data.Photos(folder)
    assert {path.name for path in photos.left_out} == {"cut.png", "text.jpg", "more", "notes.txt", "link.png"}
    assert {frozenset(path.name for path in group) for group in photos.copies} == {
        frozenset({"00.png", "copy.png"}),
        frozenset({"01.png", "twin.jpg"}),
    }
    assert [path.name for path in photos.near_constant] == ["blank.webp"]
    parts = names(photos)
    assert any({"00.png", "copy.png"} <= files for files in parts.values())
    text = "\n".join(photos.problems())
    for kind, name in (
        ("damaged", "red/cut.png"),
        ("no JPEG, PNG or WebP image", "red/text.jpg"),
        ("a folder in that of a class", "red/more"),
        ("not in the folder of a class", "notes.txt"),
        ("a link to nothing", "red/link.png"),
    ):
        assert f"Left out ({kind}): 1. {name}\n" in text
    assert "Copies of one another in several classes: 1. blue/twin.jpg (also red/01.png)" in text
    with pytest.warns(data.PhotosWarning, match=r"(?s)damaged\): 1\. red/cut.*Near-constant: 1\. blue/blank\.webp"):
        data.load(folder)


@pytest.mark.one_backend
def test_long_lists_are_cut_and_a_large_folder_says_how_far_it_is(folder, monkeypatch, capsys):
    for number in range(12):
        (folder / "red" / f"text{number:02}.jpg").write_text("no image")
        (folder / "red" / f"copy{number:02}.png").write_bytes((folder / "red" / "00.png").read_bytes())
    (folder / "blue" / "\x1b[2J.txt").write_text("no image")
    assert data.Photos(folder).problems() == [
        "Left out (no JPEG, PNG or WebP image): 13. blue/\\x1b[2J.txt, "
        + "".join(f"red/text{number:02}.jpg, " for number in range(9))
        + "and 3 more",
        "Copies of one another: 1. red/00.png (also red/copy00.png, red/copy01.png, red/copy02.png, and 9 more)",
    ]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(photos_module, "SECONDS", 0)
    data.Photos(folder)
    assert capsys.readouterr().err.splitlines()[-1] == f"{folder}: 65 of 65 files read"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: {"folder": folder / "missing"}, "Expected a folder of photos"),
        (lambda folder: {"folder": folder / "red"}, "a folder for each class, two at least"),
        (lambda folder: {"folder": folder, "held_out": 1.0}, "`held_out` must be"),
        (lambda folder: {"folder": folder, "image_shape": (8, 8, 2)}, "`image_shape` must be"),
    ],
)
def test_what_is_no_folder_of_photos_is_refused(folder, make, message):
    with pytest.raises(ValueError, match=message):
        data.Photos(**make(folder))


@pytest.mark.one_backend
def test_a_relative_folder_is_named_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"'photos/', but .*{re.escape(tmp_path.name)}.photos is no folder"):
        data.Photos("photos/")


def test_a_class_without_photos_is_refused(folder, tmp_path):
    (folder / "green").mkdir()
    with pytest.raises(ValueError, match=r"none to train with for \['green'\]; photos by part: train \d+, test \d+\.$"):
        data.Photos(folder)
    (folder / "green" / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"none to train with for \['green'\].*green/text\.jpg"):
        data.Photos(folder)


@pytest.mark.one_backend
def test_layouts_that_are_almost_right_are_named(folder, tmp_path):
    for part in ("train", "test", "extra"):
        shutil.copytree(folder, tmp_path / "split" / part)
    expected = (
        r"Expected .*/split/CLASS/\*, or .*/split/train/CLASS/\* with validation or test beside train and no other"
    )
    with pytest.raises(
        ValueError, match=rf"{expected} folder.*Left out \(a folder in that of a class\): 6\. extra/blue"
    ):
        data.Photos(tmp_path / "split")
    for name in ("blue", "red"):
        for path in (folder / name).iterdir():
            if path.name != "00.png":
                path.unlink()
    with pytest.raises(ValueError, match=r"one in each part\. Received: photos by part: train 2, test 0\.$"):
        data.Photos(folder)
    (folder / "red").rename(folder / os.fsdecode(b"caf\xe9"))
    with pytest.raises(ValueError, match=r"must be printable text, in UTF-8. Received: the folders \['caf\\udce9'\]"):
        data.Photos(folder)


def test_a_photo_that_is_gone_is_an_error_with_its_name(folder):
    images, _ = data.Photos(folder).parts["train"]
    images.paths[0].unlink()
    with pytest.raises(OSError, match=images.paths[0].name):
        images[:2]


# The rule for all kinds of files. The reference is written here on whole pixels, without scaling.
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), "uint8")
GREY = np.random.default_rng(1).integers(0, 65536, (6, 8), "uint16")
ALPHA = np.dstack([COLOUR, np.random.default_rng(2).integers(0, 256, (6, 8), "uint8")])


def stored(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return stored(Image.fromarray(COLOUR), exif=exif)


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (turned(), np.rot90(COLOUR, -1)),
        (stored(Image.fromarray(GREY)), np.repeat(np.rint(GREY / 257.0)[..., None], 3, -1)),
        (
            stored(Image.fromarray(ALPHA)),
            COLOUR * (ALPHA[..., 3:] / 255) + 255 * (1 - ALPHA[..., 3:] / 255),
        ),
        (stored(Image.fromarray(COLOUR[..., 0])), np.repeat(COLOUR[..., :1], 3, -1)),
    ],
    ids=["exif", "16 bits", "alpha", "grey"],
)
def test_files_of_every_kind_by_one_rule(tmp_path, content, want):
    (tmp_path / "any.name").write_bytes(content)
    got = PhotoImages([tmp_path / "any.name"], want.shape)[0]
    np.testing.assert_allclose(got, want, atol=0.5 if want.dtype == float else 0, rtol=0)
    np.testing.assert_array_equal(got, np.rint(255 * read_image(tmp_path / "any.name", want.shape)))


def test_cmyk_is_what_its_colours_say(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    got = PhotoImages([tmp_path / "red.jpg"], (8, 8, 3))[0].astype(int)
    assert np.abs(got - [255, 0, 0]).max() <= 2


def test_large_jpeg_files_are_decoded_small_and_one_at_a_time(tmp_path, monkeypatch):
    seen = []

    def seen_decoded(*arguments):
        image = decoded(*arguments)
        seen.append((image.size, photo_images._one_at_a_time.locked()))
        return image

    monkeypatch.setattr(photo_images, "decoded", seen_decoded)
    smooth = picture(0, (8, 8)).resize((640, 640), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "large.jpg", quality=95)
    with Image.open(tmp_path / "large.jpg") as file:
        want = np.asarray(file.resize((32, 32), Image.Resampling.BICUBIC), int)
    for most, locked in ((640 * 640, False), (640 * 640 - 1, True)):
        monkeypatch.setattr(photo_images, "MANY_PIXELS", most)
        got = PhotoImages([tmp_path / "large.jpg"], (32, 32, 3))[0]
        assert np.abs(got - want).max() <= 4
        assert seen.pop() == ((80, 80), locked)  # an eighth, which has twice the needed pixels
    # The longer side counts.
    images = PhotoImages([tmp_path / "large.jpg"], (64, 16, 3))
    assert (images[0].shape, images.whole([0])[0].shape) == ((64, 16, 3), (64, 32, 3))
    assert [size for size, _ in seen] == [(160, 160)] * 2


def test_random_cuts_are_of_the_whole_photo(folder):
    images, _ = data.Photos(folder, (16, 16, 3)).parts["train"]
    assert {image.shape for image in images.whole([0, 1])} == {(16, 18, 3)}
    draws = data.Augmentation(flip=True, crop_padding=0).draw(2, np.random.default_rng(0))
    cut = data.Augmentation(flip=False, crop_padding=0).take(images, [0, 1], draws)
    for image, whole in zip(cut, images.whole([0, 1]), strict=True):
        assert any((image == whole[:, left : left + 16]).all() for left in range(3))


def test_recipes_fit_the_photos(folder):
    for side, strides in ((32, 4), (64, 8), (128, 16)):
        recipe = training.recipe_for_photos(data.Photos(folder, (side, side, 3)))
        assert recipe.image_shape == [side, side, 3]
        assert recipe.model["filters"][-1] == 2
        assert np.prod(recipe.model["strides"]) == strides
        assert len({len(value) for value in recipe.model.values() if isinstance(value, list)}) == 1
        assert recipe.epochs == 100
    with pytest.raises(ValueError, match=r"xs_coda_cifar10 is for images of \(32, 32, 3\)"):
        training.recipe_for_photos(data.Photos(folder, (64, 64, 3)), "xs_coda_cifar10")


@pytest.mark.one_backend
def test_a_recipe_with_a_start_has_its_network(folder, tmp_path, monkeypatch):
    other = {"temperature": 7.0, "logit_bias": -1.0, "rescaling": "l2", "use_bias": False, "add_negative": False}
    network, photos = {**RECIPE, "filters": [2, 5], **other}, data.Photos(folder, (40, 8, 3))
    start = CoDANet(**network, image_shape=photos.image_shape).save_to_preset(tmp_path / "start")
    recipe = training.recipe_for_photos(photos, start, "my photos")
    assert recipe.model == {**network, "filters": [2, 2]}
    assert recipe.augmentation == {"flip": True, "crop_padding": 1}  # at least a pixel; a 16th of the shorter side
    assert (recipe.name, recipe.batch_size) == ("my_photos", 32)
    assert recipe.learning_rate < training.recipe_for_photos(photos).learning_rate
    monkeypatch.setattr(photo_recipes, "_LARGE", len(photos.parts["train"][1]))
    assert training.recipe_for_photos(photos).batch_size == 128


@pytest.mark.one_backend
def test_a_recipe_names_the_preset_that_it_starts_from_without_its_path(folder, tmp_path):
    start = shutil.copytree(presets.names.bundled()["xs_coda_cifar10"], tmp_path / "elsewhere")
    recipe = training.recipe_for_photos(data.Photos(folder, (32, 32, 3)), start)
    assert recipe.description == "Photos of 2 classes, from xs_coda_cifar10."


@pytest.mark.one_backend
def test_training_needs_no_extra(folder, tmp_path, capsys, monkeypatch):
    """Without the packages of the extra `evaluation` there are no pictures of maps, which is said at once."""
    extra = ("matplotlib", "pandas", "scipy", "skimage", "sklearn")
    for name in [*extra, *(name for name in sys.modules if name.partition(".")[0] in extra)]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    recipe = {"name": "mine", "description": "", "dataset": "photos/", "model": RECIPE, "image_shape": [8, 8, 3]}
    (tmp_path / "mine.json").write_text(json.dumps({**recipe, "learning_rate": 0.02, "batch_size": 16, "epochs": 1}))
    assert cli.main(["train", "mine.json", "--out", "mine"]) == 0
    printed = capsys.readouterr()
    lines = [line for line in printed.out.splitlines() if line[:1].isalpha()]
    assert lines[0] == "Training: 3 steps of 16 images, epochs: 1"
    assert lines[1].startswith("Measuring the network on ")
    assert printed.err.splitlines()[0] == (
        "keras-coda: The logs get no pictures of contribution maps, since Matplotlib is not installed: "
        'pip install "keras-coda[evaluation]"'
    )
    assert [path.name for path in (tmp_path / "mine.logs").iterdir()] == ["training.csv"]
    assert presets.metadata("./mine")["classes"] == ["blue", "red"]
    assert cli.main(["explain", "photos/red/00.png", "--preset", "./mine", "--out", "explained"]) == 2
    assert cli.main(["evaluate", "./mine", "--out", "evaluation"]) == 2
    printed, extra = capsys.readouterr(), 'pip install "keras-coda[evaluation]"'
    want = f"keras-coda: matplotlib is not installed, which pictures, evaluation and the digits need: {extra}"
    assert (printed.out, printed.err.splitlines()) == ("", [want, want])


@pytest.mark.filterwarnings("default")  # Pytest restores the filters, which the command changes.
def test_from_a_folder_to_a_preset_that_starts_another(folder, tmp_path, capsys, monkeypatch):
    """The commands of a user, for a small network."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recipe", "--images", "photos/", "--size", "8"]) == 0
    printed = capsys.readouterr()
    assert "2 classes, train " in printed.err
    recipe = {**json.loads(printed.out), "model": RECIPE, "epochs": 1, "batch_size": 16}
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    assert cli.main(["train", "mine.json", "--out", "mine"]) == 0
    facts = presets.metadata("./mine")
    assert (facts["classes"], facts["image_shape"]) == (["blue", "red"], [8, 8, 3])
    assert (facts["dataset"], facts["license"]) == ("photos/", None)
    subject = Subject.load("./mine")
    assert (subject.images.shape[1:], str(subject.folder)) == ((8, 8, 3), "mine")
    assert np.mean(subject.correct) == pytest.approx(facts["results"]["test_accuracy"])

    (folder / "blue").rename(folder / "green")
    with pytest.raises(ValueError, match=r"must have the classes of photos, \['blue', 'red'\]"):
        Subject.load("./mine", "photos/")
    arguments = ["--images", "photos/", "--start", "./mine", "--freeze", "dau_1", "--epochs", "1", "--out", "other"]
    assert cli.main(["train", *arguments]) == 0
    other, mine = presets.load("./other"), presets.load("./mine")
    assert presets.metadata("./other")["classes"] == ["green", "red"]
    for got, want in zip(other.get_layer("dau_1").get_weights(), mine.get_layer("dau_1").get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)
    differing = zip(other.get_layer("dau_2").get_weights(), mine.get_layer("dau_2").get_weights(), strict=True)
    assert any((got != want).any() for got, want in differing)
    capsys.readouterr()
    assert cli.main(["train", "mine.json", "--images", "photos/", "--freeze", "dau_9", "--out", "third"]) == 2
    assert "Received: ['dau_9']" in capsys.readouterr().err
