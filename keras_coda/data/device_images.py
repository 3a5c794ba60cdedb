"""Training images in the memory of the device, with crops and flips that are made there."""

import functools

import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor


class DeviceImages:
    """Images `(N, H, W, C)` in the memory of the active backend's device. `Batches` and `Augmentation.take` take them.

    So no image is sent to the device in a training: of each batch it gets the images' numbers, flips and crops. These
    are the same as for an array, and so are the batches. Trainings by recipes use this on one GPU, on PyTorch and JAX,
    for arrays of less than 2 GiB, without RandAugment.

    Args:
        images: array `(N, H, W, C)`.

    Raises:
        ValueError: there are so many pixels that their numbers do not fit into 31 bits.

    Example:

    >>> on_device = keras_coda.data.DeviceImages(images)
    >>> augmentation = keras_coda.data.Augmentation(flip=True, crop_padding=4)
    >>> batches = keras_coda.data.Batches(on_device, labels, batch_size=32, devices=1, augmentation=augmentation)
    >>> taken, _, _ = batches[0]  # a tensor (32, H, W, C), never sent to the device
    """

    def __init__(self, images: np.ndarray) -> None:
        self.shape: tuple[int, ...] = images.shape
        self.dtype = images.dtype
        count = int(np.prod(self.shape[:3]))
        if count >= 2**31:
            raise ValueError(f"Expected fewer than 2^31 pixels. Received: {count}, in images of shape {self.shape}")
        self._pixels = ops.convert_to_tensor(images.reshape(count, self.shape[3]))
        self._windows = backend.compiled(functools.partial(_windows, height=self.shape[1], width=self.shape[2]))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        unmoved = np.zeros(len(indices), "int32")
        return self.taken(indices, unmoved, unmoved, unmoved)

    def taken(self, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray, flipped: np.ndarray) -> Tensor:
        """Windows of H x W pixels of some images. Pixels outside an image are black.

        Args:
            indices: integers `(n,)`, of the images.
            tops, lefts: integers `(n,)`, row and column of the image at which the window begins; may be negative.
            flipped: booleans `(n,)`, which windows are mirrored, left to right.

        Returns:
            A tensor `(n, H, W, C)` of the images' dtype.
        """
        numbers = np.stack([indices, tops, lefts, flipped]).astype("int32")
        return self._windows(self._pixels, ops.convert_to_tensor(numbers))


def _windows(pixels, numbers, height, width):
    """`DeviceImages.taken` of tensors: `pixels (N H W, C)` of all images, and `numbers (4, n)`: image, row, column and
    flip of each window.
    """
    indices, tops, lefts, flipped = ops.unstack(numbers[..., None, None], axis=0)
    columns = ops.arange(width, dtype="int32")
    columns = lefts + ops.where(flipped == 1, width - 1 - columns, columns)
    rows = tops + ops.arange(height, dtype="int32")[:, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (indices * height + ops.clip(rows, 0, height - 1)) * width + ops.clip(columns, 0, width - 1)
    taken = ops.take(pixels, places, axis=0)
    return ops.where(inside[..., None], taken, ops.zeros_like(taken))
