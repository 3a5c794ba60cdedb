"""A network that is trained on several devices."""

import keras
from keras import ops

from keras_coda import backend
from keras_coda.training.resizing import ResizingCoDANet


class Replica(ResizingCoDANet):
    """A `CoDANet` for training on several devices, each of which sees a part of every batch.

    Gradients, loss and metrics are those of the whole batch. It is built and trained within `backend.run_on`, on the
    parts and sample weights that `Batches` gives, with `weighted_metrics`, after a call of `share_gradients`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._loss_of_images = keras.metrics.Mean(name="loss")

    def share_gradients(self):
        """Train together with the replicas of all processes, which wait for each other here. Freeze layers before."""
        self._average_gradients = backend.average_gradients(self)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        # Keras' own "loss" would count images of weight 0, too. This metric has its name, and replaces it in the logs.
        _log(self._loss_of_images, backend.replicas() * loss, sample_weight)
        return self._average_gradients(loss)

    def _log_penalty(self, penalty, y_pred, sample_weight):
        _log(self._penalty_tracker, penalty, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y, y_pred, sample_weight=_is_counted(sample_weight))

    def get_metrics_result(self):
        with backend.summed(self.metrics_variables):
            return super().get_metrics_result()


def _log(metric, weighted, sample_weight):
    """Update a metric with a mean over images, of which `weighted` is the mean with sample weights."""
    weighted = ops.cast(weighted, metric.dtype)
    total = weighted * ops.cast(ops.size(sample_weight), weighted.dtype)
    mean = ops.divide_no_nan(total, ops.cast(ops.sum(sample_weight), weighted.dtype))
    metric.update_state(mean, sample_weight=ops.sum(_is_counted(sample_weight)))


def _is_counted(sample_weight):
    return ops.cast(sample_weight > 0, "float32")
