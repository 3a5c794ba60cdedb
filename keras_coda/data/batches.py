"""Shuffled and augmented batches that several devices share equally."""

import os
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np

from keras_coda.data.augmentation import Augmentation
from keras_coda.data.device_images import DeviceImages
from keras_coda.data.stored_images import StoredImages

# Number of batches that threads prepare ahead of the network.
AHEAD = max(2, os.cpu_count() or 2)


class Batches(keras.utils.PyDataset):
    """Shuffled batches `(images, labels, weights)`, or the part of each that one process takes.

    The devices share every batch equally. If the last batch is too small for that, some of its images are repeated with
    a weight of 0, and the weights of the others are larger than 1, so that weighted means stay the same. All other
    weights are 1.

    The order of an epoch depends on the seed and the number of the epoch alone, and the augmentation of an image also
    on its place in this order. Neither depends on earlier batches, nor on the number of devices and processes.

    Batches can also be taken in worker processes, forked or not, such as those of a PyTorch `DataLoader`.

    Args:
        images: array, `StoredImages` or `DeviceImages`, with the images on the first axis.
        labels: array, likewise.
        batch_size: integer, number of images in a batch of all processes together, a multiple of `devices`.
        devices: integer, number of devices that share a batch.
        process: `(index, count)`: index of the process, and number of processes.
        seed: integer.
        augmentation: an `Augmentation`. Default: none.

    Example:

    >>> batches = Batches(images, labels, batch_size=32, devices=2)
    >>> batches.shuffle(epoch=0)
    >>> images, labels, weights = batches[0]
    """

    def __init__(
        self,
        images: np.ndarray | StoredImages | DeviceImages,
        labels: np.ndarray,
        batch_size: int,
        devices: int,
        process: tuple[int, int] = (0, 1),
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.devices = devices
        self.process = process
        self.seed = seed
        self.augmentation = augmentation
        self._process_id: int | None = None
        self.shuffle(0)

    def shuffle(self, epoch: int) -> None:
        """Set the order of the images to that of an epoch."""
        self._epoch = epoch
        self._prepared: dict[int, Future] = {}
        self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getstate__(self):
        # Threads and their unfinished batches cannot be sent to another process.
        return {**vars(self), "_threads": None, "_prepared": {}, "_process_id": None}

    def __getitem__(self, number):
        if isinstance(self.images, DeviceImages):
            # The device prepares the batch while this thread goes on.
            return self._batch(self._order, self._epoch, number)
        if self._process_id != os.getpid():
            # Kept by hand: Keras' workers would serve batches that were prepared in the order of the epoch before.
            # New ones after a fork, since the threads of the parent process do not run here.
            self._threads, self._prepared, self._process_id = ThreadPoolExecutor(AHEAD), {}, os.getpid()
        batch = self._prepared.pop(number, None) or self._prepare(number)
        for coming in range(number + 1, min(number + AHEAD, len(self))):
            if coming not in self._prepared:
                self._prepared[coming] = self._prepare(coming)
        return batch.result()

    def _prepare(self, number):
        return self._threads.submit(self._batch, self._order, self._epoch, number)

    def _batch(self, order, epoch, number):
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        size = -(-len(chosen) // self.devices) * self.devices
        weights = np.where(np.arange(size) < len(chosen), size / len(chosen), 0).astype("float32")
        index, count = self.process
        part = np.resize(chosen, size)[index::count]
        if self.augmentation is None:
            images = self.images[part]
        else:
            drawn = np.random.SeedSequence([self.seed, epoch], spawn_key=(number,))
            draws = self.augmentation.draw(size, np.random.default_rng(drawn))
            images = self.augmentation.take(self.images, part, draws[index::count])
        return images, self.labels[part], weights[index::count]
