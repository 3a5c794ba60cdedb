"""Gradients of a model's outputs, compiled and batched by Keras."""

import keras
import numpy as np
from keras import ops

from keras_coda import backend

# How many targets share one forward pass: a compiled graph may have a backward pass for each.
TOGETHER = 16


class PullBack(keras.Model):
    """The gradients of several outputs of each image in its source, which share one forward pass.

    A method that computes something else of a batch overrides `call`.

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

    def gradients(self, source, targets, batch_size, verbose=0, **others):
        """What `call` gives for each image and target, as a NumPy array `(N, K, ...)`: the gradients.

        Args:
            source: array `(N, H, W, C)` (or `(N, C, H, W)`).
            targets: int32 `(N, K)`, which outputs.
            batch_size: integer.
            verbose: 1 shows a progress bar.
            **others: further arrays with N images that `call` takes.
        """
        parts = [self.predict(i, batch_size, verbose) for i in _inputs(source, targets, others)]
        return np.concatenate(parts, axis=1)

    def weighted_gradients(self, source, targets, variants, weights, batch_size, verbose=0):
        """The sums over i of `weights[i] * gradients(variants(source, i))`, without keeping the terms.

        Args:
            source: array `(N, H, W, C)` (or `(N, C, H, W)`).
            targets: int32 `(N, K)`, which outputs.
            variants: function of the numbers of B images and, for each, of i, two integer arrays, that returns these
                variants `(B, H, W, C)`.
            weights: array with one weight a variant.
            batch_size: integer, variants evaluated at once.
            verbose: 1 shows a progress bar.

        Returns:
            A float32 array `(N, K, *source.shape[1:])`.
        """
        total = np.zeros((len(source), targets.shape[1], *source.shape[1:]), "float32")
        every = np.arange(len(source) * len(weights))
        batch_size = min(batch_size, len(every))
        progress = keras.utils.Progbar(len(every), verbose=verbose, unit_name="gradient")
        for start in range(0, len(every), batch_size):
            # The last batch is filled up with variants of weight 0, since JAX compiles for a size.
            images, numbers = np.divmod(np.resize(every[start : start + batch_size], batch_size), len(weights))
            weight = np.where(np.arange(start, start + batch_size) < len(every), weights[numbers], 0.0)
            inputs = _inputs(variants(images, numbers).astype(source.dtype), targets[images])
            gradients = np.concatenate([self.predict_on_batch(i) for i in inputs], axis=1)
            for image in np.unique(images):
                of_image = images == image
                total[image] += np.tensordot(weight[of_image].astype("float32"), gradients[of_image], 1)
            progress.update(min(start + batch_size, len(every)))
        return total

    def call(self, inputs):
        """The gradients as a tensor, from `source` and `targets`."""
        return pulled_back(lambda source: (self._forward(source), None), inputs["source"], inputs["targets"])[0]


def pulled_back(function, tensor, targets):
    """The gradients of a function's outputs in a tensor.

    Args:
        function: function of a tensor that returns outputs `(N, classes)` and anything else, of which no gradients
            are taken.
        tensor: tensor with N first.
        targets: list of K int32 tensors `(N,)`, which outputs.

    Returns:
        `(gradients, auxiliary)`: float32 `(N, K, *tensor.shape[1:])`, and that anything else.
    """
    outputs, auxiliary, pull_back = backend.pull_back(function, tensor)
    gradients = pull_back(ops.one_hot(ops.stack(targets), outputs.shape[-1], dtype=outputs.dtype))
    return ops.cast(ops.moveaxis(gradients, 0, 1), "float32"), auxiliary


def _inputs(source, targets, others=None):
    """What the model takes for up to `TOGETHER` targets at a time."""
    columns = [*targets.T]
    # A list, of which the length is known when the graph is traced.
    parts = [columns[start : start + TOGETHER] for start in range(0, len(columns), TOGETHER)]
    return [{"source": source, "targets": part, **(others or {})} for part in parts]
