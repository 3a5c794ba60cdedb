"""Image files as an array, decoded when they are indexed."""

import pathlib
import threading
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from keras_coda.data.stored_images import StoredImages, threads
from keras_coda.decoding import decoded, fitted

FORMATS = ("JPEG", "PNG", "WEBP")
# Files with more pixels are decoded one at a time, to limit the memory.
MANY_PIXELS = 2**24
_one_at_a_time = threading.Lock()


class PhotoImages(StoredImages):
    """Image files that can be indexed like a uint8 array `(N, H, W, C)`.

    Each is cropped about its centre to the aspect ratio of `(H, W)` and scaled by bicubic interpolation, exactly as
    `keras-coda explain` does. Several threads decode. Decoded images are not cached.

    Args:
        paths: the files.
        image_shape: `(H, W, C)`; C is 1 or 3.

    Example:

    >>> images = keras_coda.data.load("photos/").x_train
    >>> images[:8].shape
    (8, 128, 128, 3)
    """

    def __init__(self, paths: Iterable[pathlib.Path], image_shape: Sequence[int]) -> None:
        self.paths = list(paths)
        self.shape = (len(self.paths), *image_shape)

    def __getitem__(self, indices):
        chosen = np.arange(len(self))[indices]
        taken = [self.paths[index] for index in np.atleast_1d(chosen)]
        pixels = np.empty((len(taken), *self.shape[1:]), self.dtype)
        for number, image in enumerate(threads().map(self._cut, taken)):
            pixels[number] = image
        return pixels if chosen.ndim else pixels[0]

    def whole(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Some images before the crop: uint8 arrays that just cover `(H, W)`, and at most twice as much.

        Longer images are cropped about their centre to twice the height or width.

        Args:
            indices: integers, the places of the images.
        """
        return list(threads().map(self._covering, [self.paths[index] for index in indices]))

    def _cut(self, path):
        _, height, width, channels = self.shape
        image = fitted(_read(path, channels, max(height, width)), height, width)
        return np.asarray(image).reshape(height, width, channels)

    def _covering(self, path):
        _, height, width, channels = self.shape
        image = _read(path, channels, max(height, width))
        scale = max(height / image.height, width / image.width)
        rows, columns = (
            min(max(side, round(scale * length)), 2 * side)
            for side, length in ((height, image.height), (width, image.width))
        )
        return np.asarray(fitted(image, rows, columns)).reshape(rows, columns, channels)


def in_turn(image: Image.Image, channels: int, side: int) -> Image.Image:
    """`decoded`, one at a time for large images."""
    if image.width * image.height <= MANY_PIXELS:
        return decoded(image, channels, side)
    with _one_at_a_time:
        return decoded(image, channels, side)


def _read(path, channels, side):
    try:
        with Image.open(path, formats=FORMATS) as image:
            return in_turn(image, channels, side)
    except Exception as error:
        raise OSError(f"{path} can no longer be read: {error}. Expected: the file that was there at first") from error
