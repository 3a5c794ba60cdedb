"""Training logs: a table of the epochs, and pictures of contribution maps over the training."""

import csv
import importlib.util
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_coda import plots
from keras_coda.explanations import explain
from keras_coda.files import written_whole
from keras_coda.metrics.selection import as_labels
from keras_coda.training.stop_on_nan import StopOnNaN
from keras_coda.videos import write_animation

TABLE, MAPS = "training.csv", "maps"
IMAGES = 4
FRAMES_A_SECOND = 2.5


class Table(keras.callbacks.Callback):
    """Writes the history of a `State` to a CSV file, with a row per epoch.

    Kept by hand: Keras' `CSVLogger` appends to its file. After a kill it would write the repeated epochs a second time.

    Args:
        state: the `State`, which must come earlier in the list of callbacks.
        path: path of the file.
    """

    def __init__(self, state, path):
        super().__init__()
        self._state = state
        self._path = path

    def on_epoch_end(self, epoch, logs=None):
        with written_whole(self._path) as file:
            columns = dict.fromkeys(name for row in self._state.history for name in row)
            writer = csv.DictWriter(file, [*columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._state.history)


class Maps(keras.callbacks.Callback):
    """Draws explanations of the same images before the training, after epochs 1, 2, 4, 8, ... and after the last one.

    Args:
        images: a few images, as the model takes them.
        labels: integers `(N,)` or `(N, 1)`, their classes.
        classes: names of the classes.
        directory: path of the folder for the pictures. Their animation is written beside it at the end, with the
            folder's name and .webp. Pictures of earlier trainings are removed.
        epochs: integer, total number of epochs. Default: that of `fit`.
        watch: a `keras_coda.training.stop_on_nan.StopOnNaN`, which must come earlier in the list of callbacks: nothing
            is drawn once the loss is not finite. Default: every chosen epoch is drawn.

    Example:

    >>> maps = keras_coda.callbacks.Maps(x_test[:4], y_test[:4], classes, "logs/maps")
    >>> model.fit(x_train, y_train, epochs=2, callbacks=[maps])
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: Sequence[str],
        directory: str | os.PathLike,
        epochs: int | None = None,
        watch: StopOnNaN | None = None,
    ) -> None:
        super().__init__()
        self._watch = watch
        self._arguments = images, labels, classes
        self._directory = pathlib.Path(directory)
        self._epochs = epochs

    def on_train_begin(self, logs=None):
        epochs = self.params["epochs"] if self._epochs is None else self._epochs
        self._drawn = {epochs, *(2**power for power in range(epochs.bit_length()))}
        self._epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._epoch is not None:
            return
        self._epoch = epoch
        # A resumed training keeps the pictures up to its first epoch. All others are of other trainings.
        for path in self._pictures():
            if epoch == 0 or path.stem > self._path(epoch).stem:
                path.unlink()
        if not self._pictures():
            self._draw(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch + 1
        if self._epoch in self._drawn:
            self._draw(self._epoch)

    def on_train_end(self, logs=None):
        if self._epoch is not None and not self._path(self._epoch).exists():
            self._draw(self._epoch)
        if pictures := self._pictures():
            opened = [Image.open(path) for path in pictures]
            # A training that was resumed with other images has older pictures of another size.
            frames = (np.asarray(image.convert("RGB")) for image in opened if image.size == opened[-1].size)
            write_animation(self._directory.with_name(f"{self._directory.name}.webp"), frames, FRAMES_A_SECOND)

    def _pictures(self):
        return sorted(self._directory.glob(f"epoch_{'[0-9]' * 5}.png"))

    def _path(self, epoch):
        return self._directory / f"epoch_{epoch:05d}.png"

    def _draw(self, epoch):
        if self._watch is not None and not self._watch.finite:
            return
        images, labels, classes = self._arguments
        data_format = getattr(self.model, "data_format", None)
        logits = self.model.predict(images, verbose=0)
        # With one class they are targets, see `keras_coda.losses.to_one_hot`.
        labels = None if logits.shape[1:] == (1,) else as_labels(labels, len(images), logits.shape[-1])
        explanation = explain(self.model, images, plots.target_and_strongest_other(logits, labels))
        plots.plot_explanation_gallery(
            images, explanation, classes, self._path(epoch), labels=labels, data_format=data_format
        )


def can_draw() -> bool:
    """Whether Matplotlib is installed, which pictures of maps need."""
    return importlib.util.find_spec("matplotlib") is not None


def first_of_each_class(labels: np.ndarray) -> np.ndarray:
    """Indices of the first image of each class, for the first `IMAGES` of these images."""
    return np.sort(np.unique(labels, return_index=True)[1])[:IMAGES]
