"""Gradients of a model's outputs, compiled and batched by Keras' `predict`."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.attributions.classifier import Classifier
from keras_coda.program import Program

# How many targets share one forward pass. A compiled program may contain a backward pass for each.
TOGETHER = 16


class PullBack(Program):
    """The gradients of several outputs with respect to the sources, with one forward pass for all.

    Layers in float16 compute in float32 where that is possible, see `Classifier.in_float32`.

    Subclasses override `call` to compute something else for a batch.

    Args:
        classifier: a `Classifier`.
        replace: function of an operation that returns the function to call in its place, or the operation itself.
    """

    def __init__(self, classifier: Classifier, replace: Callable | None = None):
        super().__init__(f"{classifier.model.name}_gradients")
        self.classifier = classifier.in_float32()
        # So that Keras finds the weights.
        self.network = self.classifier.network
        self._replace = replace

    def gradients(self, source, targets, batch_size, verbose=0, **others):
        """The result of `call`, the gradients, for each image and target.

        Args:
            source: array `(N, H, W, C)` (or `(N, C, H, W)`).
            targets: int32 `(N, K)`, indices of outputs.
            batch_size: integer.
            verbose: 1 shows a progress bar.
            **others: further arrays with N images, which `call` takes.

        Returns:
            A NumPy array `(N, K, ...)`.
        """
        parts = [self.predict(i, batch_size, verbose) for i in _inputs(source, targets, others)]
        return np.concatenate(parts, axis=1)

    def weighted_gradients(self, source, targets, variants, weights, batch_size, verbose=0):
        """The sum over variants of each image of `weights[i]` times the gradients for variant i.

        Args:
            source: array `(N, H, W, C)` (or `(N, C, H, W)`).
            targets: int32 `(N, K)`, indices of outputs.
            variants: function `variants(images, numbers)` of two integer arrays `(B,)`: B images, and for each the
                number i of a variant. It returns these variants, `(B, H, W, C)`.
            weights: array with a weight for each variant.
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
            # The last batch is padded with variants of weight 0, since JAX compiles for one batch size.
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

        def outputs(source):
            return self.classifier.forward(source, self._replace), None

        source = ops.cast(inputs["source"], self.classifier.dtype)
        return pulled_back(outputs, source, inputs["targets"])[0]


def pulled_back(function, tensor, targets):
    """The gradients of a function's outputs with respect to a tensor.

    Args:
        function: function of a tensor that returns `(outputs, auxiliary)`: outputs `(N, classes)`, and anything else,
            which is not differentiated.
        tensor: tensor `(N, ...)`.
        targets: list of K int32 tensors `(N,)`, indices of outputs.

    Returns:
        `(gradients, auxiliary)`: float32 `(N, K, *tensor.shape[1:])`, and the auxiliary result of `function`.
    """
    outputs, auxiliary, pull_back = backend.pull_back(function, tensor)
    gradients = pull_back(ops.one_hot(ops.stack(targets), outputs.shape[-1], dtype=outputs.dtype))
    return ops.cast(ops.moveaxis(gradients, 0, 1), "float32"), auxiliary


def _inputs(source, targets, others=None):
    """The model's inputs, with up to `TOGETHER` targets in each."""
    columns = [*targets.T]
    # Lists, whose length is known while a program is traced.
    parts = [columns[start : start + TOGETHER] for start in range(0, len(columns), TOGETHER)]
    return [{"source": source, "targets": part, **(others or {})} for part in parts]
