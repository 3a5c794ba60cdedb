"""Image files as a model takes them."""

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_coda.decoding import decoded, fitted


def read_image(path, image_shape, data_format="channels_last"):
    """Read an image file, scaled and cropped about its centre to a model's size.

    Args:
        path: a file that Pillow reads, of 8 or 16 bits a channel. It is turned as its EXIF data say, and transparent
            pixels are white; see `keras_coda.decoding.decoded`.
        image_shape: `(H, W, C)`, or `(C, H, W)` with "channels_first"; C is 1 (gray) or 3. Where H or W is `None`, the
            image keeps its size.
        data_format: "channels_last" or "channels_first".

    Returns:
        A float32 array of that shape, in [0, 1].

    Raises:
        ValueError: the file is no image, or not of 8 or 16 bits a channel.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            height, width, channels = _last(image_shape, data_format)
            side = None if height is None or width is None else max(height, width)
            try:
                image = decoded(file, channels, side)
            except ValueError as error:
                raise ValueError(f"{path} cannot be read. {error}") from error
            return to_pixels(image, image_shape, data_format)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that Pillow can read") from None


def to_pixels(image, image_shape, data_format="channels_last"):
    """A Pillow image as `read_image` returns a file's."""
    height, width, channels = _last(image_shape, data_format)
    image = image.convert("L" if channels == 1 else "RGB")
    if height is not None and width is not None:
        image = fitted(image, height, width)
    pixels = np.asarray(image, "float32").reshape(image.height, image.width, channels) / 255.0
    return np.moveaxis(pixels, -1, 0) if data_format == "channels_first" else pixels


def _last(image_shape, data_format):
    """The shape with the channels on its last axis."""
    return (*image_shape[1:], image_shape[0]) if data_format == "channels_first" else tuple(image_shape)
