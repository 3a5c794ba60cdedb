"""Where the images of a training step come from: the device, or processes that augment them on the host."""

import collections
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np

from gpu import arrays
from keras_coda.data import Augmentation

# Number of calls to the GPU for which images are augmented in advance.
AHEAD = 1


class OnDevice:
    """All images on the device. The program of the training steps crops and flips them.

    Args:
        images: array `(N, H, W, C)` uint8.
        labels: array `(N,)` int32.
        augmentation: a `keras_coda.data.Augmentation` without RandAugment.

    Attributes:
        flip, crop_padding: the augmentation that is left to the program.
        seconds_an_image: seconds of the processor in which an image is ready.
    """

    seconds_an_image = 0.0

    def __init__(self, images, labels, augmentation):
        self.images, self.labels = jax.numpy.asarray(images), jax.numpy.asarray(labels)
        self.flip, self.crop_padding = augmentation.flip, augmentation.crop_padding or 0

    def shapes(self, count):
        """What a call has for images and labels, as arrays or their shapes, where it takes `count` images."""
        return self.images, self.labels

    def calls(self, order):
        """For each array of indices `(steps, batch)`: images, labels, and their places in these."""
        for indices in order:
            yield self.images, self.labels, jax.numpy.asarray(indices)

    def close(self):
        """Nothing to stop."""


class Augmented:
    """Images that other processes augment, as RandAugment has no program for GPUs.

    Args:
        folder: path of the arrays, see `gpu.arrays`.
        labels: array `(N,)` int32.
        augmentation: a `keras_coda.data.Augmentation`.
        shape: `(steps, batch)` of a call.
        seed: integer. It fixes the augmentation of each call.
    """

    flip, crop_padding = False, 0

    def __init__(self, folder, labels, augmentation, shape, seed):
        self.labels, self.seed, self._calls = labels, seed, 0
        # Forked processes may hang once JAX has threads.
        self._processes = ProcessPoolExecutor(
            os.cpu_count(), multiprocessing.get_context("spawn"), _open, (folder, augmentation)
        )
        steps, batch = shape
        first = self._start(np.arange(steps * batch).reshape(shape) % len(labels))
        self._image = self._finish(*first)[0][0]  # Not timed: the processes start.
        began = time.monotonic()
        self._finish(*self._start(first[0]))
        self.seconds_an_image = (time.monotonic() - began) / (steps * batch)

    def shapes(self, count):
        """What a call has for images and labels, as arrays or their shapes, where it takes `count` images."""
        images = jax.ShapeDtypeStruct((count, *self._image.shape), self._image.dtype)
        return images, jax.ShapeDtypeStruct((count,), self.labels.dtype)

    def calls(self, order):
        """For each array of indices `(steps, batch)`: augmented images, labels, and their places in these."""
        waiting: collections.deque = collections.deque()
        for indices in order:
            waiting.append(self._start(indices))
            if len(waiting) > AHEAD:
                yield self._finish(*waiting.popleft())
        for call in waiting:
            yield self._finish(*call)

    def close(self):
        """Stop the processes."""
        self._processes.shutdown(cancel_futures=True)

    def _start(self, indices):
        seeds = [(self.seed, self._calls, step) for step in range(len(indices))]
        self._calls += 1
        return indices, [self._processes.submit(_augment, *given) for given in zip(indices, seeds, strict=True)]

    def _finish(self, indices, batches):
        images = np.concatenate([batch.result() for batch in batches])
        places = np.arange(indices.size, dtype="int32").reshape(indices.shape)
        return images, self.labels[indices.ravel()], places


def _open(folder, augmentation):
    """Set what a process keeps."""
    global _images, _augmentation
    _images, _augmentation = arrays.load(folder).x_train, augmentation


def _augment(indices, seed):
    return _augmentation.take(_images, indices, _augmentation.draw(len(indices), np.random.default_rng(seed)))


_images: np.ndarray
_augmentation: Augmentation
