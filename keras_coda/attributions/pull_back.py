"""Gradients of a model's outputs in its source, compiled and batched by Keras' `predict`."""

import keras
import numpy as np
from keras import ops

from keras_coda import backend

# How many targets share one forward pass: each has a backward pass of its own in the compiled graph.
TOGETHER = 16


class PullBack(keras.Model):
    """The gradients of several outputs of each image, which share one forward pass.

    Args:
        classifier: a `Classifier`.
        forward: function of a source tensor, with the outputs of which gradients are taken. Default: the network.
    """

    def __init__(self, classifier, forward=None):
        super().__init__(name=f"{classifier.model.name}_gradients")
        self.network = classifier.network
        self._forward = self.network if forward is None else forward
        # It has no weights of its own; else Keras would build it by an eager call on the first batch.
        self.built = True

    def gradients(self, source, targets, batch_size, verbose=0):
        """The gradients `(N, K, *source.shape[1:])` of the outputs `targets`, int32 `(N, K)`, as a NumPy array."""
        columns = [*targets.T]
        parts = [columns[start : start + TOGETHER] for start in range(0, len(columns), TOGETHER)]
        # A list, of which the length is known when the graph is traced.
        inputs = [{"source": source, "targets": part} for part in parts]
        return np.concatenate([self.predict(i, batch_size=batch_size, verbose=verbose) for i in inputs], axis=1)

    def call(self, inputs):
        """The gradients as a tensor, from `source` and `targets`."""
        outputs, pull_back = backend.pull_back(self._forward, inputs["source"])
        columns = [ops.one_hot(column, outputs.shape[-1], dtype=outputs.dtype) for column in inputs["targets"]]
        gradients = [pull_back(column) for column in columns]
        return ops.cast(ops.stack(gradients, axis=1), "float32")


def in_pieces(function, source, targets, copies, batch_size, progress):
    """`function(source, targets, indices)` for one piece of the images at a time, and the pieces put together.

    For methods that evaluate `copies` variants of each image: a piece has as many images as make about 8 batches.

    Args:
        function: takes the sources and targets of a piece and where in the whole they are; returns an array a image.
        source, targets: arrays with N images.
        copies: integer, variants of each image.
        batch_size: integer.
        progress: whether to show a progress bar.
    """
    size = max(1, 8 * batch_size // copies)
    bar = keras.utils.Progbar(len(source), unit_name="image") if progress else None
    results = []
    for start in range(0, len(source), size):
        indices = np.arange(start, min(start + size, len(source)))
        results.append(function(source[indices], targets[indices], indices))
        if bar:
            bar.update(indices[-1] + 1)
    return np.concatenate(results)
