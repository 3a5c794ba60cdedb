"""Read image files in the form that a model takes."""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_coda.backend.conventions import channels_last
from keras_coda.decoding import TOO_LARGE, decoded, fitted, opened

# The formats of files that are taken from a folder.
_LISTED = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")


def read_image(
    path: str | os.PathLike, image_shape: Sequence[int | None], data_format: str = "channels_last"
) -> np.ndarray:
    """Read an image file, scaled and cropped about its centre to a model's size.

    Args:
        path: a file that Pillow reads, with 8 or 16 bits per channel. It is rotated according to its EXIF data, and
            transparent pixels become white; see `keras_coda.decoding.decoded`. PostScript (EPS) is refused, since
            reading it runs another program.
        image_shape: `(H, W, C)`, or `(C, H, W)` with "channels_first"; C is 1 (gray) or 3. If H or W is `None`, the
            image keeps its size.
        data_format: "channels_last" or "channels_first".

    Returns:
        A float32 array of that shape, in [0, 1].

    Raises:
        ValueError: the file is no image, is damaged, has another number of bits, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` (which you can change).
        OSError: the file cannot be read.
    """
    with open_image(path) as file:
        return read_frame(file, image_shape, data_format)


def read_frame(file: Any, image_shape: Sequence[int | None], data_format: str = "channels_last") -> np.ndarray:
    """The current frame of a file from `open_image`, in the form in which `read_image` returns the first one."""
    height, width, channels = _last(image_shape, data_format)
    side = None if height is None or width is None else max(height, width)
    try:
        image = decoded(file, channels, side)
    except ValueError as error:
        raise ValueError(f"{file.filename} cannot be read. {error}") from error
    return to_pixels(image, image_shape, data_format)


@contextlib.contextmanager
def open_image(path: str | os.PathLike) -> Iterator[Image.Image]:
    """A context that opens an image file by Pillow. Errors within the context are reported as errors of the file.

    Raises:
        ValueError, OSError: see `read_image`.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not an image. Expected: a regular file")
    Image.init()
    formats = [name for name in Image.ID if name != "EPS"]
    try:
        with opened(path, formats) as file:
            yield file
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that Pillow can read") from None
    except TOO_LARGE as error:
        raise ValueError(
            f"{path} must have at most {Image.MAX_IMAGE_PIXELS:,} pixels, PIL.Image.MAX_IMAGE_PIXELS. "
            f"Received: one too large ({error})"
        ) from None
    except OSError as error:
        if error.filename is not None or str(path) in str(error):
            raise
        raise OSError(f"{path} cannot be read: {error}") from error
    except ValueError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of many types for damaged files
        raise ValueError(f"{path} is a damaged image: {type(error).__name__}: {error}") from error


def image_files(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The image files in a folder, recognised by their suffixes, in the order of their names."""
    Image.init()
    paths = sorted(pathlib.Path(folder).iterdir())
    endings = {ending for ending, name in Image.EXTENSION.items() if name in Image.OPEN and name in _LISTED}
    return [path for path in paths if path.suffix.lower() in endings and path.is_file() and path.name[0] != "."]


def check_kept(images: Iterable[pathlib.Path], written: Iterable[pathlib.Path]) -> None:
    """Raise a ValueError if a file to write is one of the images, also if it is the same file under another name."""
    for path in written:
        for image in images if path.exists() else ():
            if image.exists() and path.samefile(image):
                raise ValueError(
                    f"{path} would take the place of {image}, which it is made of. Expected: another name or folder"
                )


def to_pixels(image: Image.Image, image_shape: Sequence[int | None], data_format: str = "channels_last") -> np.ndarray:
    """A Pillow image in the form in which `read_image` returns that of a file."""
    height, width, channels = _last(image_shape, data_format)
    image = image.convert("L" if channels == 1 else "RGB")
    if height is not None and width is not None:
        image = fitted(image, height, width)
    pixels = np.asarray(image, "float32").reshape(image.height, image.width, channels) / 255.0
    return np.moveaxis(pixels, -1, 0) if data_format == "channels_first" else pixels


def _last(image_shape, data_format):
    """The shape with channels last."""
    shape = channels_last(image_shape, data_format)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"Image files have 1 or 3 channels. Received: a model of images {tuple(image_shape)}")
    return shape
