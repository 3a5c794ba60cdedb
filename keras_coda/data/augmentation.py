"""Augmentation of training images: flips, crops and RandAugment, drawn for each image."""

import dataclasses
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keras_coda.data.device_images import DeviceImages
from keras_coda.data.rand_augment import rand_augment
from keras_coda.data.stored_images import StoredImages

# Random numbers of an image: for the flip, for row and column of the crop, and the seed of RandAugment.
_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random crop, then flip, then RandAugment, drawn for each image independently.

    Kept by hand: Keras' `RandomCrop` draws one place for a whole batch, and its `RandAugment` one choice of operations.
    The crop is in NumPy, and RandAugment's operations are Pillow's.

    RandAugment has 16 operations with equal probability. A magnitude m fixes the strength of each. Random are the sign
    of rotations, shears and shifts, and the place of a cutout. Pixels from outside the image are black.

    - AutoContrast, Equalize, Invert: have no strength
    - Rotate: m degrees; ShearX and ShearY: m / 100 pixels per pixel
    - TranslateX and TranslateY: 5 / 360 m of the width or height (33 of 240 pixels at m = 10); Cutout: a black square
      with m / 180 of the shorter side (13 of 240 pixels at m = 10)
    - Color, Contrast, Brightness, Sharpness: Pillow's factor is 0.1 + 0.06 m
    - Posterize: 4 + m * 2 / 15 bits are kept; Solarize: values from m * 128 / 15 on are inverted; SolarizeAdd:
      m * 11 / 3 is added to values below 128; all rounded down

    Attributes:
        flip: whether to mirror half of the images, left to right.
        crop_padding: integer, number of black pixels added on each side before an image is cut to its size at a random
            place. Images that are stored in a larger size, such as those of "imagenet100", are cut from the larger
            image: 0 is useful for them. Default: no crop.
        rand_augment: dict with `num_ops` and `magnitude` (0..30) of RandAugment (Cubuk et al., 2020), for RGB images.
            Floats are rounded to 256 levels. Default: no RandAugment.

    Raises:
        ValueError: a number is negative, too large or not an integer, or `rand_augment` has other entries.

    Example:

    >>> augmentation = keras_coda.data.Augmentation(flip=True, crop_padding=4)
    >>> augmented = augmentation(images, np.random.default_rng(0))
    >>> augmentation = keras_coda.data.Augmentation(True, 0, {"num_ops": 2, "magnitude": 10})
    """

    flip: bool = False
    crop_padding: int | None = None
    rand_augment: dict | None = None

    def __post_init__(self):
        if not isinstance(self.flip, bool):
            raise ValueError(f"`flip` must be true or false. Received: {self.flip!r}")
        if self.crop_padding is not None and not (isinstance(self.crop_padding, int) and self.crop_padding >= 0):
            raise ValueError(f"`crop_padding` must be an integer of at least 0. Received: {self.crop_padding!r}")
        if self.rand_augment is not None and not _is_rand_augment(**self.rand_augment):
            raise ValueError(
                "`rand_augment` must have the entries num_ops, a positive integer, and magnitude, a number in 0..30. "
                f"Received: {self.rand_augment!r}"
            )

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the random numbers for `count` images.

        Args:
            count: integer.
            rng: a NumPy `Generator`.

        Returns:
            An array `(count, 4)`, with a row for each image.
        """
        return rng.random((count, _DRAWS))

    def take(self, images: np.ndarray | StoredImages | DeviceImages, indices: np.ndarray, draws: np.ndarray) -> Any:
        """Augment some of the images by given random numbers.

        Args:
            images: array `(N, H, W, C)` of integers in 0..255 or floats in [0, 1], or `StoredImages`; without
                `rand_augment` also `DeviceImages`.
            indices: integers `(n,)`.
            draws: array `(n, 4)`, rows from `draw`.

        Returns:
            An array `(n, H, W, C)` of the same dtype; of `DeviceImages` a tensor.

        Raises:
            ValueError: `rand_augment` is set, and the images are not RGB, or are `DeviceImages`.
        """
        flipped, top, left, seeds = draws.T
        if isinstance(images, DeviceImages):
            if self.rand_augment is not None:
                raise ValueError("RandAugment is for images in the host's memory. Received: `DeviceImages`")
            padding = self.crop_padding or 0
            top, left = (_places(drawn, 2 * padding + 1) - padding for drawn in (top, left))
            return images.taken(indices, top, left, flipped < 0.5 if self.flip else np.zeros(len(draws), bool))
        if self.crop_padding is None:
            taken = images[indices]
        else:
            crops = _crops_of_stored if isinstance(images, StoredImages) else _crops
            taken = crops(images, indices, self.crop_padding, top, left)
        if self.flip:
            taken[flipped < 0.5] = taken[flipped < 0.5, :, ::-1]
        return taken if self.rand_augment is None else _rand_augment(taken, seeds, self.rand_augment)

    def __call__(self, images: np.ndarray, rng: Any) -> np.ndarray:
        """Augment a whole batch.

        Args:
            images: array `(N, H, W, C)` of integers in 0..255 or floats in [0, 1].
            rng: a NumPy `Generator`, or an integer seed.

        Returns:
            An array of the same shape and dtype.
        """
        return self.take(images, np.arange(len(images)), self.draw(len(images), np.random.default_rng(rng)))


def _is_rand_augment(num_ops=None, magnitude=None, **others):
    is_number = isinstance(magnitude, (int, float)) and 0 <= magnitude <= 30
    return is_number and isinstance(num_ops, int) and num_ops > 0 and not others


def _places(draws, count):
    """Numbers in [0, 1) as integers from 0 to `count - 1`."""
    return (draws * count).astype("int64")


def _crops(images, indices, padding, tops, lefts):
    """One crop of each chosen image, without a loop, which would take up to five times as long.

    Args:
        images: array `(N, H, W, C)`.
        indices: integers `(n,)`.
        padding: integer, black pixels on each side.
        tops, lefts: numbers in [0, 1), for places from the first to the last possible one.

    Returns:
        An array `(n, H, W, C)`.
    """
    (height, width, channels), count = images.shape[1:], len(indices)
    padded = np.zeros((count, height + 2 * padding, width + 2 * padding, channels), images.dtype)
    padded[:, padding : padding + height, padding : padding + width] = images[indices]
    # Columns and channels are one axis, so that NumPy copies a whole row of a crop at once.
    windows = sliding_window_view(padded.reshape(*padded.shape[:2], -1), (height, width * channels), (1, 2))
    top, left = (_places(drawn, 2 * padding + 1) for drawn in (tops, lefts))
    return windows[np.arange(count), top, channels * left].reshape(count, height, width, channels)


def _crops_of_stored(images, indices, padding, tops, lefts):
    """The same for `StoredImages`, from the uncut images, which differ in size."""
    height, width, _ = shape = images.shape[1:]
    crops = np.zeros((len(indices), *shape), images.dtype)
    for crop, image, top, left in zip(crops, images.whole(indices), tops, lefts, strict=True):
        top = _places(top, image.shape[0] - height + 2 * padding + 1) - padding
        left = _places(left, image.shape[1] - width + 2 * padding + 1) - padding
        # With much padding a crop can lie outside the image, where slices must not begin at the other end.
        inside = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        crop[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return crops


def _rand_augment(images, seeds, arguments):
    if images.shape[-1] != 3:
        raise ValueError(f"RandAugment takes RGB images, of 3 channels. Received: images of shape {images.shape}")
    floats = np.issubdtype(images.dtype, np.floating)
    pixels = np.rint(255 * images.clip(0, 1)) if floats else images
    changed = rand_augment(pixels.astype("uint8"), (seeds * 2**53).astype("int64"), **arguments)
    return (changed / 255 if floats else changed).astype(images.dtype)
