"""Scores of many masked variants of each image, for all methods that perturb images."""

import hashlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.attributions.baseline import broadcast
from keras_coda.attributions.classifier import Classifier, name_of
from keras_coda.checks import check_outputs
from keras_coda.program import Program


class MaskedScores(Program):
    """Evaluates `source * mask + baseline * (1 - mask)` for many masks an image, compiled once by Keras' `predict`.

    A mask applies to all channels of a pixel. All targets of an image are read from the same outputs.

    Args:
        classifier: a `Classifier`.
        activation: the function from outputs to scores, or its name. "linear": the outputs are the scores.
    """

    def __init__(self, classifier: Classifier, activation: Any):
        super().__init__(f"{classifier.model.name}_masked")
        self.classifier = classifier
        # So that Keras finds the weights.
        self.network = classifier.network
        self.activation = keras.activations.get(activation)

    @property
    def activation_name(self) -> str:
        """A name of the activation that tells it from others, with a hash of its values if it is not one of Keras'."""
        name = name_of(self.activation)
        if self.activation is getattr(keras.activations, name, None):
            return name
        points = np.random.default_rng(0).uniform(-5, 5, (3, self.classifier.classes)).astype("float32")
        values = ops.convert_to_numpy(self.activation(ops.convert_to_tensor(points)))
        # Few and to four digits, since the last ones differ between machines.
        text = " ".join(f"{value:.3e}" for value in values.ravel()[:: max(1, values.size // 16)])
        return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def scores(self, source, targets, masks, count, batch_size, baseline=0.0, verbose=0):
        """The scores of all variants.

        Args:
            source: array with N sources.
            targets: int32 `(N, K)`.
            masks: function `masks(images, numbers)` of two integer arrays `(B,)`: B images, and for each the number of
                a mask, in 0..count - 1. It returns floats `(B, H, W)` in [0, 1], where 1 keeps a pixel. It is called
                for each batch.
            count: integer M, masks an image.
            batch_size: integer.
            baseline: the value of masked pixels: a number, or an array that broadcasts to the shape of `source`.
            verbose: 1 shows a progress bar.

        Returns:
            `(N, M, K)`, float32.

        Raises:
            ValueError: a softmax is guessed, and the model's outputs are probabilities already; a score is NaN or
                infinite.
        """
        self.classifier.check_activation(self.activation, source)
        variants = _Variants(source, targets, masks, count, batch_size, baseline, self.classifier)
        scores = self.predict(backend.input_pipeline(variants), verbose=verbose)
        check_outputs(self.classifier.model.name, scores)
        return scores[: len(source) * count].reshape(len(source), count, -1)

    def call(self, inputs):
        """The scores `(B, K)` as a tensor, from `variants` and `targets`."""
        outputs = self.activation(ops.cast(self.classifier.forward(inputs["variants"]), "float32"))
        return ops.take_along_axis(outputs, inputs["targets"], axis=-1)


class _Variants(keras.utils.PyDataset):
    """Batches of variants, made on demand. The last one is padded, since JAX compiles for one batch size."""

    def __init__(self, source, targets, masks, count, batch_size, baseline, classifier):
        super().__init__()
        self.source = source
        self.targets = targets
        self.masks = masks
        self.count = count
        self.batch_size = batch_size
        self.baseline = broadcast(baseline, source, classifier) if np.any(baseline) else None
        self.channel_axis = classifier.channel_axis

    def __len__(self):
        return -(-len(self.source) * self.count // self.batch_size)

    def __getitem__(self, index):
        numbers = np.arange(self.batch_size) + index * self.batch_size
        images, variants = np.divmod(np.minimum(numbers, len(self.source) * self.count - 1), self.count)
        mask = np.expand_dims(self.masks(images, variants).astype(self.source.dtype), self.channel_axis)
        masked = self.source[images] * mask
        if self.baseline is not None:
            masked += self.baseline[images] * (1 - mask)
        return ({"variants": masked, "targets": self.targets[images]},)
