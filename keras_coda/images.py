"""Image files as a model takes them."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def read_image(path, image_shape, data_format="channels_last"):
    """Read an image file, scaled and cropped about its centre to a model's size.

    Args:
        path: a file that Pillow reads, of 8 bits a channel. Turned as its EXIF data say; transparency is dropped.
        image_shape: `(H, W, C)`, or `(C, H, W)` with "channels_first"; C is 1 (gray) or 3. Where H or W is `None`, the
            image keeps its size.
        data_format: "channels_last" or "channels_first".

    Returns:
        A float32 array of that shape, in [0, 1].

    Raises:
        ValueError: the file is no image, or not of 8 bits a channel.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise ValueError(f"{path} must have 8 bits a channel. Received: an image of mode {file.mode!r}")
            return to_pixels(ImageOps.exif_transpose(file), image_shape, data_format)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that Pillow can read") from None


def to_pixels(image, image_shape, data_format="channels_last"):
    """A Pillow image as `read_image` returns a file's."""
    if data_format == "channels_first":
        image_shape = (*image_shape[1:], image_shape[0])
    height, width, channels = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    if height is not None and width is not None:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, "float32").reshape(image.height, image.width, channels) / 255.0
    return np.moveaxis(pixels, -1, 0) if data_format == "channels_first" else pixels
