"""Flips, crops and RandAugment."""

import collections
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_coda.data import Augmentation, StoredImages

pytestmark = pytest.mark.one_backend

PUBLISHED = {"num_ops": 2, "magnitude": 10}


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_each_image_is_flipped_and_cropped_by_itself(rng, dtype):
    """All crops of the padded picture and of its mirror image occur, about equally often."""
    picture = rng.integers(1, 255, (4, 5, 3)) if dtype == "uint8" else rng.uniform(0.1, 1, (4, 5, 3))
    picture = picture.astype(dtype)
    count = 3600
    found = Augmentation(flip=True, crop_padding=1)(np.broadcast_to(picture, (count, 4, 5, 3)), 0)
    assert found.dtype == dtype
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    crops = [padded[top : top + 4, left : left + 5] for top in range(3) for left in range(3)]
    expected = {crop[:, ::step].tobytes() for crop in crops for step in (1, -1)}
    counts = collections.Counter(image.tobytes() for image in found)
    assert counts.keys() == expected
    # 200 of each are expected, with a standard deviation of 14.
    assert 130 < min(counts.values()) < max(counts.values()) < 270


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_draws_mean_what_they_meant_for_networks_that_were_trained(rng, dtype, padding):
    images = rng.integers(0, 256, (9, 4, 5, 2)).astype(dtype) / (1 if dtype == "uint8" else 255)
    images = images.astype(dtype)
    augmentation = Augmentation(flip=True, crop_padding=padding)
    draws = augmentation.draw(7, np.random.default_rng(0))
    np.testing.assert_array_equal(draws, np.random.default_rng(0).random((7, 4)))
    draws[0, 1:3], draws[1, 1:3] = 0, 1 - 1e-16  # the first place and the last
    indices = np.array([8, 0, 3, 3, 1, 7, 2])
    found = augmentation.take(images, indices, draws)
    assert found.dtype == dtype
    for image, index, (flip, down, right, _) in zip(found, indices, draws, strict=True):
        padded = np.pad(images[index], ((padding, padding), (padding, padding), (0, 0)))
        top, left = int(down * (2 * padding + 1)), int(right * (2 * padding + 1))
        expected = padded[top : top + 4, left : left + 5]
        np.testing.assert_array_equal(image, expected[:, ::-1] if flip < 0.5 else expected)


def test_without_anything_images_stay_as_they_are(rng):
    images = rng.integers(0, 256, (3, 4, 4, 1), "uint8")
    np.testing.assert_array_equal(Augmentation()(images, 0), images)
    flipped = Augmentation(flip=True)(images, 0)
    assert all((new == old).all() or (new == old[:, ::-1]).all() for new, old in zip(flipped, images, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_padding": -1},
        {"crop_padding": 2.0},
        {"rand_augment": {"num_ops": 0, "magnitude": 10}},
        {"rand_augment": {"num_ops": 2, "magnitude": 31}},
        {"rand_augment": {"num_ops": 2}},
        {"rand_augment": {**PUBLISHED, "factor": 0.5}},
    ],
)
def test_wrong_numbers_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`{name}` must .*Received: "):
        Augmentation(**wrong)


class Source(list):
    """Examples with the interface of `tfds.data_source`."""

    def __getitems__(self, keys):
        return [self[key] for key in keys]


@pytest.fixture
def stored():
    """Two pictures: 60 x 40 with a brightness per column, and gray 40 x 60 with one per row. Cut to 12 x 12."""
    ramp = np.broadcast_to(np.linspace(0, 236, 60).astype("uint8"), (40, 60))
    source = Source()
    for image in (Image.fromarray(ramp).convert("RGB"), Image.fromarray(ramp.T)):
        file = io.BytesIO()
        image.save(file, "png")
        source.append({"image": file.getvalue()})
    return StoredImages(source, shorter_side=20, crop=12)


def test_stored_images_are_scaled_and_cut_about_their_centre(stored):
    assert stored.shape == (len(stored), 12, 12, 3) == (2, 12, 12, 3)
    wide, tall = stored.whole([0, 1])
    assert wide.shape == (20, 30, 3)
    assert tall.shape == (30, 20, 3)
    np.testing.assert_array_equal(wide, tall.transpose(1, 0, 2))
    # Half as large: the brightness of two columns, 4 apart.
    np.testing.assert_allclose(wide[0, :, 0], 2 + 8 * np.arange(30), atol=1.5)
    np.testing.assert_array_equal(stored[0], wide[4:16, 9:21])
    np.testing.assert_array_equal(stored[[1, 0]], [tall[9:21, 4:16], wide[4:16, 9:21]])
    for some in (stored[:], stored[0:2], stored[np.arange(2)], np.asarray(stored)):
        assert some.dtype == stored.dtype
        np.testing.assert_array_equal(some, [stored[0], stored[1]])


def test_stored_images_are_scaled_by_bilinear_interpolation(stored, rng):
    image, file = Image.fromarray(rng.integers(0, 256, (60, 40, 3), "uint8")), io.BytesIO()
    image.save(file, "png")
    stored.source.append({"image": file.getvalue()})
    np.testing.assert_array_equal(stored.whole([2])[0], image.resize((20, 30), Image.Resampling.BILINEAR))


def test_crops_of_stored_images_come_from_everywhere(stored):
    augmentation = Augmentation(crop_padding=0)
    draws = augmentation.draw(500, np.random.default_rng(0))
    indices = np.arange(500) % 2
    crops = augmentation.take(stored, indices, draws)
    assert crops.shape == (500, 12, 12, 3)
    lefts = set()
    for index, crop in zip(indices, crops, strict=True):
        (whole,) = stored.whole([index])
        left = int(np.argmin(np.abs(stored.whole([0])[0][0, :, 0].astype(int) - crop[0, 0, 0])))
        lefts.add((index, left))
        expected = whole[:12, left : left + 12] if index == 0 else whole[left : left + 12, :12]
        np.testing.assert_array_equal(crop, expected)
    assert lefts == {(index, left) for index in (0, 1) for left in range(19)}


def test_crops_of_stored_images_are_of_padded_ones(stored):
    padding = 30  # more than height and width
    augmentation = Augmentation(crop_padding=padding)
    draws = augmentation.draw(100, np.random.default_rng(0))
    crops = augmentation.take(stored, np.zeros(100, int), draws)
    padded = np.pad(stored.whole([0])[0], ((padding, padding), (padding, padding), (0, 0)))
    for crop, (_, down, right, _) in zip(crops, draws, strict=True):
        top, left = int(down * (padded.shape[0] - 11)), int(right * (padded.shape[1] - 11))
        np.testing.assert_array_equal(crop, padded[top : top + 12, left : left + 12])


@pytest.fixture(scope="module")
def pictures():
    """The same picture eight times, of 12 x 12 pixels."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).repeat(2, 0).repeat(2, 1)
    return np.broadcast_to(picture.astype("uint8"), (8, 12, 12, 3))


def test_rand_augment_draws_for_each_image_by_itself(pictures):
    augmentation = Augmentation(rand_augment=PUBLISHED)
    draws = augmentation.draw(8, np.random.default_rng(1))
    changed = augmentation.take(pictures, np.arange(8), draws)
    assert changed.dtype == "uint8"
    assert changed.shape == pictures.shape
    assert len({image.tobytes() for image in changed}) == 8
    # The result depends on the draws of the image alone, and is the same for floats.
    part = augmentation.take(pictures, np.arange(3), draws[[5, 2, 5]])
    np.testing.assert_array_equal(part, changed[[5, 2, 5]])
    floats = augmentation.take(pictures.astype("float32") / 255, np.arange(8), draws)
    assert floats.dtype == "float32"
    np.testing.assert_allclose(255 * floats, changed, atol=0.51)
    near = (pictures - np.float32(0.4)).clip(0) / 255  # rounded to the same levels
    np.testing.assert_array_equal(augmentation.take(near, np.arange(8), draws), floats)
    # Floats out of range are clipped, where a cast would turn them round.
    wide = np.linspace(-0.5, 1.5, 432, dtype="float32").reshape(1, 12, 12, 3)
    clipped = augmentation.take(wide.clip(0, 1), [0] * 8, draws)
    np.testing.assert_array_equal(augmentation.take(wide, [0] * 8, draws), clipped)


def test_rand_augment_is_the_same_in_another_process(pictures):
    augmentation = Augmentation(True, 2, PUBLISHED)
    program = f"""
import sys
import numpy as np
from keras_coda.data import Augmentation
pictures = np.frombuffer(sys.stdin.buffer.read(), "uint8").reshape(8, 12, 12, 3)
sys.stdout.buffer.write({augmentation!r}(pictures, 5).tobytes())
"""
    done = subprocess.run([sys.executable, "-c", program], input=pictures.tobytes(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    augmentation(pictures, 4)
    np.testing.assert_array_equal(
        np.frombuffer(done.stdout, "uint8").reshape(pictures.shape), augmentation(pictures, 5)
    )
