"""Batches that several devices share equally."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Shuffled batches `(images, labels, weights)`, or one process' part of each.

    Every batch has a number of images that devices can share equally: where the last one has not, some of its images
    come again, with a weight of 0, and the others' weights make up for it, so that a mean over the images stays what
    it was. All other weights are 1. The order of an epoch depends on its number and on the seed alone.

    Args:
        images, labels: arrays with the images on the first axis.
        batch_size: integer, images in a batch of all processes together, a multiple of `devices`.
        devices: integer, how many share a batch.
        process: `(index, count)`: the part of each batch that this is, and the number of parts.
        seed: integer.

    Example:

    >>> batches = Batches(images, labels, batch_size=32, devices=2)
    >>> batches.shuffle(epoch=0)
    >>> images, labels, weights = batches[0]
    """

    def __init__(self, images, labels, batch_size, devices, process=(0, 1), seed=0):
        super().__init__()
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.devices = devices
        self.process = process
        self.seed = seed
        self.shuffle(0)

    def shuffle(self, epoch):
        """Take the order of an epoch."""
        self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number):
        chosen = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        size = -(-len(chosen) // self.devices) * self.devices
        weights = np.where(np.arange(size) < len(chosen), size / len(chosen), 0).astype("float32")
        index, count = self.process
        part = np.resize(chosen, size)[index::count]
        return self.images[part], self.labels[part], weights[index::count]
