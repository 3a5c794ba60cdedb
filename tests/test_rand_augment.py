"""Each operation of RandAugment against its definition in NumPy, on all pixels."""

import collections
import inspect

import numpy as np
import pytest
from PIL import Image

from keras_coda.data import Augmentation, rand_augment
from keras_coda.data.rand_augment import OPERATIONS

pytestmark = pytest.mark.one_backend

# Cubuk et al. (2020), with Invert, SolarizeAdd and Cutout instead of the identity.
NAMES = {
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "Cutout", "TranslateX", "TranslateY"),
}
CENTRE = (0.5, 0.5)


@pytest.fixture
def picture(rng):
    """A picture of 36 x 24 pixels, none of them black, with a part of the range of values in each channel."""
    low, high = np.array([20, 60, 5]), np.array([180, 250, 120])
    return (low + (high - low) * rng.random((24, 36, 3))).astype("uint8")


def changed(name, picture, magnitude=10, sign=1, place=CENTRE):
    """A picture after one operation."""
    return np.asarray(OPERATIONS[name](Image.fromarray(picture), magnitude / 30, sign, place))


def gray(picture):
    """The conversion to gray that Pillow documents (ITU-R 601-2)."""
    return picture @ np.array([299, 587, 114]) / 1000


def blended(picture, degenerate, factor):
    """ImageEnhance interpolates: the degenerate picture at 0, and the picture itself at 1."""
    return degenerate + factor * (picture.astype("float64") - degenerate)


def test_there_are_sixteen():
    assert {*OPERATIONS} == NAMES
    assert len(OPERATIONS) == 16


def test_auto_contrast(picture):
    low, high = picture.min((0, 1)).astype(float), picture.max((0, 1))
    want = (picture - low) * 255 / (high - low)
    np.testing.assert_allclose(changed("AutoContrast", picture), want, atol=1)


def test_equalize(picture):
    """The place of a value among all of its channel, from 0 to 255: as often below as among the even ones."""
    got = changed("Equalize", picture)
    for channel in range(3):
        values = picture[..., channel].ravel()
        want = 255 * np.array([(values < value).sum() for value in values]) / (values.size - 1)
        # With 864 pixels the steps of Pillow's histogram are 3 pixels.
        np.testing.assert_allclose(got[..., channel].ravel(), want, atol=255 * 6 / values.size + 30)
        assert np.all(np.diff(got[..., channel].ravel()[np.argsort(values)].astype(int)) >= 0)
        assert got[..., channel].max() - got[..., channel].min() > 230


def test_invert(picture):
    np.testing.assert_array_equal(changed("Invert", picture), 255 - picture)


@pytest.mark.parametrize(("magnitude", "bits"), [(0, 4), (10, 5), (29, 7), (30, 8)])
def test_posterize(picture, magnitude, bits):
    step = 2 ** (8 - bits)
    np.testing.assert_array_equal(changed("Posterize", picture, magnitude), picture // step * step)


@pytest.mark.parametrize(("magnitude", "threshold"), [(0, 0), (10, 85), (30, 256)])
def test_solarize(picture, magnitude, threshold):
    want = np.where(picture < threshold, picture, 255 - picture)
    np.testing.assert_array_equal(changed("Solarize", picture, magnitude), want)


@pytest.mark.parametrize(("magnitude", "added"), [(0, 0), (10, 36), (30, 110)])
def test_solarize_add(picture, magnitude, added):
    want = np.where(picture < 128, picture.astype(int) + added, picture)
    np.testing.assert_array_equal(changed("SolarizeAdd", picture, magnitude), want)


@pytest.mark.parametrize(("magnitude", "factor"), [(0, 0.1), (10, 0.7), (30, 1.9)])
def test_colour_contrast_and_brightness(picture, magnitude, factor):
    grays = gray(picture)
    degenerate = {
        "Color": grays[..., np.newaxis],
        "Contrast": np.rint(grays.mean()),
        "Brightness": np.zeros(()),
    }
    for name, start in degenerate.items():
        want = blended(picture, start, factor).clip(0, 255)
        np.testing.assert_allclose(changed(name, picture, magnitude), want, atol=2)


@pytest.mark.parametrize(("magnitude", "factor"), [(10, 0.7), (30, 1.9)])
def test_sharpness(picture, magnitude, factor):
    """Pillow's filter SMOOTH, which leaves the border as it is."""
    padded = picture.astype("float64")
    smooth = padded.copy()
    total = sum(padded[1 + i : 23 + i, 1 + j : 35 + j] for i in (-1, 0, 1) for j in (-1, 0, 1))
    smooth[1:-1, 1:-1] = (total + 4 * padded[1:-1, 1:-1]) / 13
    want = blended(picture, smooth, factor).clip(0, 255)
    np.testing.assert_allclose(changed("Sharpness", picture, magnitude), want, atol=2)


def taken(picture, rows, columns):
    """The pixel of each point `(row, column)`, black outside the image; and a mask of the points between pixels."""
    height, width, _ = picture.shape
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    values = np.where(inside[..., np.newaxis], picture[row.clip(0, height - 1), column.clip(0, width - 1)], 0)
    near = (np.abs(rows - np.rint(rows)) < 1e-3) | (np.abs(columns - np.rint(columns)) < 1e-3)
    return values, near


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [10, 30])
@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY"])
def test_turns_and_shears(picture, name, magnitude, sign):
    """Transform by the centres of pixels. Pixels from outside are black."""
    rows, columns = np.mgrid[:24, :36] + 0.5
    if name == "ShearX":
        source = rows, columns + sign * magnitude / 100 * rows
    elif name == "ShearY":
        source = rows + sign * magnitude / 100 * columns, columns
    else:
        # Counterclockwise as displayed.
        angle = np.deg2rad(sign * magnitude)
        y, x = rows - 12, columns - 18
        source = 12 + np.sin(angle) * x + np.cos(angle) * y, 18 + np.cos(angle) * x - np.sin(angle) * y
    want, near = taken(picture, *source)
    got = changed(name, picture, magnitude, sign)
    assert near.mean() < 0.2
    np.testing.assert_array_equal(got[~near], want[~near])
    assert (want == 0).all(-1).any()


@pytest.mark.parametrize(("size", "shift"), [(240, 33), (64, 9), (32, 4)])
@pytest.mark.parametrize("sign", [1, -1])
def test_shifts_are_33_of_240_pixels_at_magnitude_10(rng, size, shift, sign):
    picture = rng.integers(1, 256, (size, size, 3)).astype("uint8")
    want = np.zeros_like(picture)
    if sign == 1:
        want[:, :-shift] = picture[:, shift:]
    else:
        want[:, shift:] = picture[:, :-shift]
    np.testing.assert_array_equal(changed("TranslateX", picture, 10, sign), want)
    transposed = changed("TranslateY", picture.transpose(1, 0, 2), 10, sign)
    np.testing.assert_array_equal(transposed, want.transpose(1, 0, 2))


def test_shifts_are_parts_of_their_own_side(picture):
    assert (changed("TranslateX", picture, 30, -1)[0] == 0).all(-1).sum() == 15
    assert (changed("TranslateY", picture, 30, -1)[:, 0] == 0).all(-1).sum() == 10


@pytest.mark.parametrize(("size", "side"), [(240, 13), (64, 4), (32, 2)])
def test_a_cutout_is_13_of_240_pixels_at_magnitude_10(rng, size, side):
    picture = rng.integers(1, 256, (size, size, 3)).astype("uint8")
    for place in (CENTRE, (0.25, 0.75)):
        want = picture.copy()
        left, top = (int(part * size) - side // 2 for part in place)
        want[top : top + side, left : left + side] = 0
        np.testing.assert_array_equal(changed("Cutout", picture, 10, place=place), want)
    # At a corner a part of the square is outside the image.
    for place, rows in (((0, 0), slice(0, side - side // 2)), ((0.9999, 0.9999), slice(size - 1 - side // 2, None))):
        want = picture.copy()
        want[rows, rows] = 0
        np.testing.assert_array_equal(changed("Cutout", picture, 10, place=place), want)


def test_a_strength_is_fixed(picture):
    """At a fixed magnitude an operation has one outcome, two by the sign, or one for each place of the cutout."""
    pictures = np.broadcast_to(picture, (3000, *picture.shape))
    found = rand_augment.rand_augment(pictures, np.arange(3000), num_ops=1, magnitude=10)
    counts = collections.Counter(image.tobytes() for image in found)
    signed = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}
    outcomes = {
        name: {changed(name, picture, sign=sign).tobytes() for sign in ((1, -1) if name in signed else (1,))}
        for name in NAMES - {"Cutout"}
    }
    for name, those in outcomes.items():
        total = sum(counts.pop(outcome) for outcome in those)
        # One in 16 is expected: 188, with a standard deviation of 13.
        assert 130 < total < 250, name
    assert len(counts) > 100
    for outcome, count in counts.items():
        image = np.frombuffer(outcome, "uint8").reshape(picture.shape)
        black = (image == 0).all(-1)
        assert count < 10
        assert 0 < black.sum() <= 1
        np.testing.assert_array_equal(image[~black], picture[~black])


def test_operations_come_one_after_the_other(picture):
    """Two operations drawn at once equal the same two drawn one by one, in their order."""
    pictures = np.broadcast_to(picture, (40, *picture.shape))
    got = rand_augment.rand_augment(pictures, np.arange(40), num_ops=2, magnitude=30)
    for seed, image in enumerate(got):
        want = picture
        for drawn, signed, *place in np.random.default_rng(seed).random((2, 4)):
            want = changed([*OPERATIONS][int(16 * drawn)], want, 30, 1 if signed < 0.5 else -1, place)
        np.testing.assert_array_equal(image, want)


def test_images_of_every_dtype(picture):
    augmentation = Augmentation(rand_augment={"num_ops": 2, "magnitude": 10})
    pictures = np.broadcast_to(picture, (20, *picture.shape))
    want = augmentation(pictures, 0)
    np.testing.assert_array_equal(augmentation(pictures.astype("int64"), 0), want)
    for dtype in ("float32", "float64"):
        got = augmentation((pictures / 255).astype(dtype), 0)
        assert got.dtype == dtype
        np.testing.assert_allclose(255 * got, want, atol=1e-3)


def test_no_backend_takes_part():
    assert "tensorflow" not in inspect.getsource(rand_augment)
    assert "keras" not in inspect.getsource(rand_augment)
