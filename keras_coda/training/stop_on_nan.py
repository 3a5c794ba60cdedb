"""A training ends where its loss or weights are NaN."""

import keras
import numpy as np

from keras_coda import backend


class StopOnNaN(keras.callbacks.Callback):
    """Stops a training when a NaN or infinite loss is read, see `Callbacks`.

    Kept by hand: where several processes train together, they read the loss at different steps, and Keras'
    `TerminateOnNaN` would stop them at different steps. Here they stop at the end of the epoch. The weights are checked
    then, too: the last step may make them NaN after a finite loss.

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
