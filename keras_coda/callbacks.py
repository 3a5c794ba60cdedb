"""Callbacks for any `fit`: contribution maps over the training, and localisation after each epoch."""

from typing import Any

import keras
import numpy as np

from keras_coda import attributions
from keras_coda.metrics.grids import assemble
from keras_coda.metrics.localisation import localisation
from keras_coda.metrics.selection import as_labels
from keras_coda.training.logs import Maps

__all__ = ["Localisation", "Maps"]


class Localisation(keras.callbacks.Callback):
    """Measures the localisation of contributions (paper, eq. 11) after each epoch, as "localisation" in the logs.

    Put it before callbacks that use the value, such as `keras.callbacks.ModelCheckpoint(monitor="localisation")`.
    `History` and TensorBoard get it, too. It is no `keras.metrics.Metric`, since metrics get labels and outputs, but no
    images.

    The grids are drawn once, from all given images. So epochs can be compared, and an untrained network, which is
    confident of no image, has a value, too. `keras_coda.metrics.make_grids` uses the images with the highest
    confidence, as the paper does, and its values are higher.

    Args:
        images: images outside the training data, as the model takes them, of one size.
        labels: integers, their classes.
        size: integer n, for grids of n x n images of distinct classes.
        count: integer, number of grids.
        seed: integer, seed of the drawing.
        every: integer, number of epochs between two measurements. In the other epochs the logs have the last value.

    Raises:
        ValueError: there are fewer classes than cells; or, when training begins, the model does not take images of the
            grids' size, or is not dynamic linear.

    Example:

    >>> curve = keras_coda.callbacks.Localisation(x_test, y_test, size=3)
    >>> model.fit(x_train, y_train, epochs=2, callbacks=[curve]).history["localisation"]
    """

    def __init__(self, images: Any, labels: Any, size: int = 2, count: int = 16, seed: int = 0, every: int = 1) -> None:
        super().__init__()
        labels = as_labels(labels, len(images))
        present = np.unique(labels)
        if size < 2 or size**2 > len(present) or count < 1 or every < 1:
            raise ValueError(
                f"Expected `size` of at least 2 and a class for each of the size x size cells, `count` and `every` "
                f"positive. Received: {len(present)} classes, size={size}, count={count}, every={every}"
            )
        rng = np.random.default_rng(seed)
        cells = np.stack([rng.choice(present, size**2, replace=False) for _ in range(count)])
        chosen = [rng.choice(np.flatnonzero(labels == label)) for label in cells.flat]
        if keras.ops.is_tensor(images):
            images = keras.ops.convert_to_numpy(images)
        self._images = np.asarray(images[np.array(chosen)])
        self._targets, self._size, self._every = cells, size, every

    def on_train_begin(self, logs=None):
        self._method = attributions.Contributions(self.model)
        axes = self._method.classifier.pixel_axes
        as_labels(self._targets.reshape(-1), self._targets.size, self._method.classifier.classes)
        images = self._images.reshape(*self._targets.shape, *self._images.shape[1:])
        self._grids = assemble(images, axes)
        self._method.classifier.source(self._grids)  # raises the errors that would come after the first epoch
        self._last = None

    def on_epoch_end(self, epoch, logs=None):
        if self._last is None or (epoch + 1) % self._every == 0:
            maps = self._method.maps(self._grids, self._targets)
            self._last = float(localisation(maps, self._size).mean())
        if logs is not None:
            logs["localisation"] = self._last
