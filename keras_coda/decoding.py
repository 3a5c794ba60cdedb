"""Decode image files of all kinds to 8-bit pixels, by one rule."""

from typing import Any

import numpy as np
from PIL import Image, ImageOps

# A large JPEG file is decoded at a half, a quarter or an eighth of its size, if each side then still has this many
# times the needed pixels. Bicubic scaling does the rest.
MARGIN = 2
# How to turn an image upright, by the number of its orientation in EXIF data.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What `opened` raises for an image of too many pixels; the second where the user makes errors of warnings.
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def opened(file: Any, formats: list[str] | tuple[str, ...]) -> Image.Image:
    """An image file, opened by Pillow. It may have `PIL.Image.MAX_IMAGE_PIXELS` pixels.

    Pillow itself opens files of up to twice as many, with a warning.

    Args:
        file: path or file object.
        formats: names of Pillow's formats.

    Raises:
        DecompressionBombError: the image has more pixels, see `TOO_LARGE`.
    """
    image = Image.open(file, formats=formats)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
    return image


def decoded(file: Any, channels: int = 3, side: int | None = None) -> Image.Image:
    """Decode an opened image file to an upright image with 8 bits per channel.

    - The image is rotated according to its EXIF data.
    - 16-bit gray values are divided by 257; 16-bit colours keep their higher byte.
    - Transparent pixels are blended with white.
    - CMYK, palettes and other modes are converted by Pillow. Colour profiles are not applied.
    - The first frame of an animation is used.

    Args:
        file: an image from `PIL.Image.open`.
        channels: 1 for gray, or 3.
        side: integer, the most pixels on each side that will be needed. A large JPEG file is then decoded at a part of
            its size. Default: all pixels.

    Returns:
        A Pillow image of mode "L" or "RGB".

    Raises:
        ValueError: the values are floats, or integers of more than 16 bits.
        OSError: the file is damaged. (Pillow raises errors of other types, too.)

    Example:

    >>> with Image.open("photo.jpg") as file:
    ...     image = decoded(file)
    """
    if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):
        raise ValueError(f"Expected 8 or 16 bits a channel. Received: an image of mode {file.mode!r}")
    if side is not None:
        file.draft(None, (MARGIN * side, MARGIN * side))
    # Unlike `ImageOps.exif_transpose`, this reads no other EXIF data, which may be odd.
    file.load()
    turn = UPRIGHT.get(file.getexif().get(ORIENTATION))
    image = file if turn is None else file.transpose(turn)
    # Pillow before 11 opens 16-bit PNG files in mode "I".
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image, "float32") / 257).astype("uint8"))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crop an image about its centre to an aspect ratio, and scale it to `(height, width)` by bicubic interpolation."""
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
