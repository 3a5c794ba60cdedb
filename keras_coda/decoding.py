"""Image files of every kind as 8-bit pixels, by one rule."""

import numpy as np
from PIL import Image, ImageOps

# Of two dimensions, for bicubic scaling: a JPEG file of many pixels is decoded at a half, a quarter or an eighth of its
# size where that leaves this many times the pixels that are wanted.
MARGIN = 2


def decoded(file, channels=3, side=None):
    """An opened image file as an upright image of 8 bits a channel.

    - It is turned as its EXIF data say.
    - 16-bit grey values are divided by 257; of 16-bit colours the higher byte is taken.
    - Transparent pixels are laid on white.
    - CMYK, palettes and all else are converted by Pillow. Colour profiles are not applied.
    - Of an animation the first frame is taken.

    Args:
        file: an image as `PIL.Image.open` returns it.
        channels: 1, for grey, or 3.
        side: integer. The image will be scaled to no more than so many pixels on each side, so that a large JPEG file
            may be decoded at a part of its size. Default: all pixels are needed.

    Returns:
        A Pillow image of mode "L" or "RGB".

    Raises:
        ValueError: the values are floats, or integers of more than 16 bits.
        OSError: the file is damaged. (Pillow raises other errors, too.)

    Example:

    >>> with Image.open("photo.jpg") as file:
    ...     image = decoded(file)
    """
    if file.mode == "F" or (file.mode == "I" and file.format != "PNG"):
        raise ValueError(f"Expected 8 or 16 bits a channel. Received: an image of mode {file.mode!r}")
    if side is not None:
        file.draft(None, (MARGIN * side, MARGIN * side))
    image = ImageOps.exif_transpose(file)
    # Pillow before 11 has 16-bit PNG files in the mode "I".
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image, "float32") / 257).astype("uint8"))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def fitted(image, height, width):
    """An image cut about its centre to the form of `(height, width)`, and scaled to that by bicubic interpolation."""
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
