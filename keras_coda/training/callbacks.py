"""Callbacks that read the loss about once a second, not after every step."""

import time

import keras
import numpy as np

from keras_coda import backend

# Time between two readings of the logs.
SECONDS = 1.0


class Callbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks for `fit`, but the logs of steps are read about once a second.

    Keras reads them after every step, and the host then waits for the device. Here the callbacks get no logs after most
    steps. At the end of an epoch they get the logs of the whole epoch, as usual. The host is at most about a second
    ahead of the device.

    Args:
        callbacks: list of `keras.callbacks.Callback`.
        model: the `keras.Model` that is trained.
        verbose: as in `keras.Model.fit`.
        epochs: integer, that of `fit`.
        steps: integer, number of steps in an epoch.

    Example:

    >>> model.fit(batches, epochs=2, callbacks=Callbacks([], model, verbose=1, epochs=2, steps=len(batches)))
    """

    def __init__(self, callbacks, model, verbose, epochs, steps):
        arguments = {"verbose": verbose, "epochs": epochs, "steps": steps}
        super().__init__(callbacks, add_history=True, add_progbar=verbose != 0, model=model, **arguments)
        self._at_once, self._unread = 1, 0

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._since, self._unread = time.monotonic(), 0

    def on_train_batch_end(self, batch, logs=None):
        self._unread += 1
        if self._unread < self._at_once and batch + 1 < self.params["steps"]:
            super().on_train_batch_end(batch)
            return
        super().on_train_batch_end(batch, logs)
        now = time.monotonic()
        in_a_second = int(self._unread * SECONDS / max(now - self._since, 1e-9))
        self._at_once = max(1, min(2 * self._at_once, in_a_second))
        self._since, self._unread = now, 0


class StopOnNaN(keras.callbacks.Callback):
    """Stops a training when a NaN or infinite loss is read, see `Callbacks`.

    Where several processes train together, they read the loss at different steps, and Keras' `TerminateOnNaN` would
    stop them at different steps. Here they stop at the end of the epoch. The weights are checked then, too: the last
    step may make them NaN after a finite loss.

    Attributes:
        finite: whether the loss has been finite, and the weights at the end of each epoch.
    """

    finite = True

    def on_train_batch_end(self, batch, logs=None):
        ends = backend.process()[1] == 1 or batch + 1 == self.params["steps"]
        if ends and logs and not np.isfinite(logs["loss"]):
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not (np.isfinite(loss) and all(map(_is_finite, self.model.get_weights()))):
            self._stop()

    def _stop(self):
        self.finite = False
        self.model.stop_training = True


def _is_finite(array):
    return bool(np.isfinite(array.astype("float32")).all())
