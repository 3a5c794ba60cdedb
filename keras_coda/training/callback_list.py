"""The list of callbacks of a training, for which the loss is read about once a second, not after every step."""

import time

import keras

# Time between two readings of the logs.
SECONDS = 1.0


class Callbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks for `fit`, but the logs of steps are read about once a second.

    Kept by hand: Keras reads them after every step, and the host then waits for the device. Here the callbacks get no
    logs after most steps. At the end of an epoch they get the logs of the whole epoch, as usual. The host is at most
    about a second ahead of the device.

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
