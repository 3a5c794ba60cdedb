"""Batches that several devices share equally."""

import os
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np

# Batches that are prepared in threads while the network is busy with one.
AHEAD = max(2, os.cpu_count() or 2)


class Batches(keras.utils.PyDataset):
    """Shuffled batches `(images, labels, weights)`, or one process' part of each.

    Every batch has a number of images that devices can share equally: where the last one has not, some of its images
    come again, with a weight of 0, and the others' weights make up for it, so that a mean over the images stays what
    it was. All other weights are 1.

    They can be taken in forked and other worker processes, too, such as those of a PyTorch `DataLoader`.

    The order of an epoch depends on its number and on the seed alone, and so does what is drawn for an image in it:
    neither depends on the batches before, nor on the number of devices and processes.

    Args:
        images: array, or `StoredImages`, with the images on the first axis.
        labels: array, likewise.
        batch_size: integer, images in a batch of all processes together, a multiple of `devices`.
        devices: integer, how many share a batch.
        process: `(index, count)`: the part of each batch that this is, and the number of parts.
        seed: integer.
        augmentation: an `Augmentation` of the images. Default: none.

    Example:

    >>> batches = Batches(images, labels, batch_size=32, devices=2)
    >>> batches.shuffle(epoch=0)
    >>> images, labels, weights = batches[0]
    """

    def __init__(self, images, labels, batch_size, devices, process=(0, 1), seed=0, augmentation=None):
        super().__init__()
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.devices = devices
        self.process = process
        self.seed = seed
        self.augmentation = augmentation
        self._process_id = None
        self.shuffle(0)

    def shuffle(self, epoch):
        """Take the order of an epoch."""
        self._epoch = epoch
        self._prepared: dict[int, Future] = {}
        self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getstate__(self):
        # Neither threads nor what they are at go to another process.
        return {**vars(self), "_threads": None, "_prepared": {}, "_process_id": None}

    def __getitem__(self, number):
        if self._process_id != os.getpid():
            # Not Keras' own workers: what they have prepared of one order they hand out in the next. And not those of
            # the process that this one was forked from, which do not run here.
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
