"""Images of any sizes that stay on disk and are decoded when they are used."""

import functools
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image


class StoredImages:
    """Encoded images that can be indexed like a uint8 array `(N, H, H, 3)`.

    Each is scaled by bilinear interpolation, so that its shorter side has `shorter_side` pixels, and cropped about its
    centre. Several threads decode.

    Args:
        source: a `tfds.data_source` of N examples whose "image" is not decoded.
        shorter_side: integer, in pixels.
        crop: integer H, height and width of the crop, at most `shorter_side`.

    Example:

    >>> images = keras_coda.data.load("imagenet100").x_train  # doctest: +SKIP
    >>> images[:8].shape  # doctest: +SKIP
    (8, 240, 240, 3)
    """

    dtype = np.dtype("uint8")

    def __init__(self, source: Any, shorter_side: int, crop: int) -> None:
        self.source = source
        self.shorter_side = shorter_side
        self.shape: tuple[int, ...] = (len(source), crop, crop, 3)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        chosen = np.arange(len(self))[indices]
        crops = np.stack([_centre(image, self.shape[1]) for image in self.whole(np.atleast_1d(chosen))])
        return crops if chosen.ndim else crops[0]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    def whole(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Some images before the crop.

        Args:
            indices: integers `(n,)`.

        Returns:
            A list of n uint8 arrays `(H, W, 3)` of different sizes. The smaller of H and W is `shorter_side`.
        """
        examples = self.source.__getitems__([int(index) for index in indices])
        return list(threads().map(self._decoded, examples))

    def _decoded(self, example):
        image = Image.open(io.BytesIO(example["image"]))
        scale = self.shorter_side / min(image.size)
        width, height = (max(self.shorter_side, int(side * scale)) for side in image.size)
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def threads() -> ThreadPoolExecutor:
    """The threads of this process that decode images. After a fork they are started anew."""
    return _threads_of(os.getpid())


@functools.cache
def _threads_of(process):
    return ThreadPoolExecutor(os.cpu_count())


def _centre(image, size):
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]
