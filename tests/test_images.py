"""Reading image files in the form that a model takes."""

import os
import re
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_coda.images import image_files, read_image

pytestmark = pytest.mark.one_backend


def write(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_pixels_come_back_unchanged_where_the_size_fits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype="uint8")
    path = write(tmp_path / "image.png", pixels)
    np.testing.assert_array_equal(read_image(path, (8, 6, 3)), pixels.astype("float32") / 255.0)
    np.testing.assert_array_equal(read_image(path, (None, None, 3)), pixels.astype("float32") / 255.0)
    large = write(tmp_path / "large.jpg", np.zeros((200, 100, 3), "uint8"))
    assert read_image(large, (8, None, 3)).shape == (200, 100, 3)
    first = read_image(path, (3, 8, 6), "channels_first")
    np.testing.assert_array_equal(first, np.moveaxis(pixels.astype("float32") / 255.0, -1, 0))


def test_gray_and_colour_images_become_what_the_model_takes(tmp_path):
    gray = write(tmp_path / "gray.png", np.full((4, 4), 51, "uint8"))
    np.testing.assert_allclose(read_image(gray, (4, 4, 3)), 0.2, rtol=1e-6)
    colour = write(tmp_path / "colour.png", np.full((4, 4, 3), 51, "uint8"))
    np.testing.assert_allclose(read_image(colour, (4, 4, 1)), 0.2, rtol=1e-6)


def test_other_sizes_are_scaled_and_cropped_about_the_centre(tmp_path):
    pixels = np.zeros((16, 32), "uint8")
    pixels[:, 6:26] = 255  # the central square, and a little around it for the interpolation
    image = read_image(write(tmp_path / "wide.png", pixels), (8, 8, 1))
    assert image.shape == (8, 8, 1)
    assert image.dtype == "float32"
    np.testing.assert_array_equal(image, 1.0)


def test_images_are_turned_as_their_exif_data_say(tmp_path):
    pixels = np.zeros((4, 8), "uint8")
    pixels[:, :2] = 255  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF: rotate by 90 degrees clockwise, so that the left becomes the top
    image = read_image(write(tmp_path / "turned.png", pixels, exif=exif), (None, None, 1))
    assert image.shape == (8, 4, 1)
    np.testing.assert_array_equal(image[:2], 1.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_odd_exif_data_do_not_keep_an_image_from_being_turned(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype="uint8")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "turned.png", pixels, exif=exif)
    with Image.open(path) as file:
        want = np.asarray(ImageOps.exif_transpose(file), "float32") / 255.0
    # A horizontal resolution that is text, and a width that is negative.
    odd = [(0x0100, 9, 1, -3), (0x0112, 3, 1, orientation), (0x011A, 2, 4, int.from_bytes(b"abc\0", "little"))]
    entries = b"".join(struct.pack("<HHIi", *entry) for entry in odd)
    header = b"II*\0" + struct.pack("<IH", 8, len(odd))
    path = write(tmp_path / "odd.png", pixels, exif=header + entries + bytes(4))
    np.testing.assert_array_equal(read_image(path, (None, None, 3)), want)


def test_images_of_a_folder_are_its_visible_files_by_name(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", ".hidden.png", "d.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.JPG", "d.webp"]


def test_files_that_are_no_such_images_are_refused_by_name(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png is not an image"):
        read_image(text, (8, 8, 3))
    deep = write(tmp_path / "deep.tif", np.full((4, 4), 0.5, "float32"))
    with pytest.raises(ValueError, match=r"deep\.tif cannot be read\. Expected 8 or 16 bits a channel.*'F'"):
        read_image(deep, (8, 8, 1))
    with pytest.raises(FileNotFoundError, match="missing"):
        read_image(tmp_path / "missing.png", (8, 8, 1))


@pytest.mark.parametrize(
    ("image_shape", "data_format"),
    [((4, 4, 4), "channels_last"), ((2, 4, 4), "channels_first"), ((4, 4), "channels_last")],
)
def test_a_model_of_images_that_no_file_has_is_refused(tmp_path, image_shape, data_format):
    path = write(tmp_path / "image.png", np.zeros((4, 4, 3), "uint8"))
    with pytest.raises(
        ValueError, match=rf"1 or 3 channels\. Received: a model of images {re.escape(str(image_shape))}"
    ):
        read_image(path, image_shape, data_format)


def test_whatever_a_file_holds_it_is_an_image_or_one_error(tmp_path, monkeypatch):
    image = write(tmp_path / "image.png", np.full((4, 4, 3), 51, "uint8"))
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, message in ((pipe, r"pipe\.png is not an image"), (tmp_path, "is not an image")):
        with pytest.raises(ValueError, match=message):
            read_image(path, (4, 4, 3))
    # Reading PostScript would run a program, Ghostscript, on the file.
    Image.open(image).save(tmp_path / "script.eps")
    (tmp_path / "script.eps").rename(tmp_path / "script.png")
    with pytest.raises(ValueError, match=r"script\.png is not an image"):
        read_image(tmp_path / "script.png", (4, 4, 3))
    for largest in (15, 7):  # a warning of Pillow's, and an error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", largest)
        with pytest.raises(ValueError, match=rf"image\.png must have at most {largest} pixels"):
            read_image(image, (4, 4, 3))
    monkeypatch.undo()
    monkeypatch.setattr(Image.Image, "getexif", lambda image: {}["no such tag"])
    with pytest.raises(ValueError, match=r"image\.png is a damaged image: KeyError"):
        read_image(image, (4, 4, 3))
