"""RandAugment (Cubuk et al., 2020) with Pillow's operations, drawn for each image.

Kept by hand: Keras' `RandAugment` draws one choice of operations for a whole batch.
"""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MAGNITUDES = 30
# Largest shift and cutout as a share of the image size: 100 and 40 of 240 pixels.
SHIFT, CUTOUT = 100 / 240, 40 / 240


def rotate(image, strength, sign, place):
    """Rotate by up to 30 degrees about the centre."""
    return image.rotate(30 * strength * sign)


def posterize(image, strength, sign, place):
    """Keep the 4 to 8 highest bits of each value."""
    return ImageOps.posterize(image, 4 + int(4 * strength))


def solarize(image, strength, sign, place):
    """Invert values from a threshold on, which is 0 to 256."""
    return ImageOps.solarize(image, int(256 * strength))


def solarize_add(image, strength, sign, place):
    """Add up to 110 to values below 128."""
    added = int(110 * strength)
    return image.point([value + added if value < 128 else value for value in range(256)] * 3)


def _enhance(kind):
    def enhanced(image, strength, sign, place):
        return kind(image).enhance(0.1 + 1.8 * strength)

    return enhanced


def shear_x(image, strength, sign, place):
    """Shift rows by up to 0.3 of their distance from the first one."""
    return _affine(image, (1, 0.3 * strength * sign, 0, 0, 1, 0))


def shear_y(image, strength, sign, place):
    """Shift columns by up to 0.3 of their distance from the first one."""
    return _affine(image, (1, 0, 0, 0.3 * strength * sign, 1, 0))


def translate_x(image, strength, sign, place):
    """Shift left or right by up to 5/12 of the width, in whole pixels."""
    return _affine(image, (1, 0, round(SHIFT * image.width * strength) * sign, 0, 1, 0))


def translate_y(image, strength, sign, place):
    """Shift up or down by up to 5/12 of the height, in whole pixels."""
    return _affine(image, (1, 0, 0, 0, 1, round(SHIFT * image.height * strength) * sign))


def cutout(image, strength, sign, place):
    """Put a black square around a random pixel, of up to 1/6 of the shorter side (DeVries & Taylor, 2017)."""
    side = round(CUTOUT * min(image.size) * strength)
    left, top = (int(part * size) - side // 2 for part, size in zip(place, image.size, strict=True))
    image = image.copy()
    # Pillow ignores the part outside the image.
    image.paste((0, 0, 0), (left, top, left + side, top + side))
    return image


# Functions of an RGB image, the strength in [0, 1] (relative to the highest magnitude), a sign, and a place (two
# numbers in [0, 1)).
OPERATIONS = {
    "AutoContrast": lambda image, *_: ImageOps.autocontrast(image),
    "Equalize": lambda image, *_: ImageOps.equalize(image),
    "Invert": lambda image, *_: ImageOps.invert(image),
    "Rotate": rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": shear_x,
    "ShearY": shear_y,
    "Cutout": cutout,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
}
_FUNCTIONS = list(OPERATIONS.values())


def rand_augment(images: np.ndarray, seeds: np.ndarray, num_ops: int, magnitude: float) -> np.ndarray:
    """Apply `num_ops` random operations of the 16 to each image, one after the other.

    Args:
        images: uint8 array `(N, H, W, 3)`.
        seeds: integers `(N,)` of at least 0. They alone decide what is drawn.
        num_ops: integer, number of operations for each image.
        magnitude: number in 0..30, see `Augmentation`.

    Returns:
        An array like `images`.

    Example:

    >>> photos = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype="uint8")
    >>> rand_augment(photos, np.arange(8), num_ops=2, magnitude=10).shape
    (8, 32, 32, 3)
    """
    changed = np.empty_like(images)
    for number, (array, seed) in enumerate(zip(images, seeds, strict=True)):
        image = Image.fromarray(array)
        for drawn, signed, *place in np.random.default_rng(int(seed)).random((num_ops, 4)):
            operation = _FUNCTIONS[int(drawn * len(_FUNCTIONS))]
            image = operation(image, magnitude / MAGNITUDES, 1 if signed < 0.5 else -1, place)
        changed[number] = image
    return changed


def _affine(image, matrix):
    """Transform by an affine matrix, with the nearest pixel, and black from outside the image."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=(0, 0, 0))
