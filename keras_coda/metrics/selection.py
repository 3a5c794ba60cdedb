"""The choice of the images on which metrics are measured."""

import itertools
from typing import Any

import keras
import numpy as np

from keras_coda.attributions import Classifier
from keras_coda.data import Dataset


def collect(data: Any, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Collect the images and labels of a data set as arrays, as metrics take them.

    Args:
        data: a `keras_coda.data.Dataset`, of which the test part is used. Or batches `(images, labels)`: a
            `keras.utils.PyDataset`, `tf.data.Dataset`, PyTorch `DataLoader` or other iterable.
        limit: integer, the number of images after which to stop. Needed for endless data sets. Default: all.

    Returns:
        `(images, labels)`, NumPy arrays.

    Raises:
        ValueError: there is no batch, or a batch is not of this form.

    Example:

    >>> images, labels = keras_coda.metrics.collect(keras_coda.data.load("digits"), limit=100)
    """
    if isinstance(data, Dataset):
        return data.x_test[:limit], data.y_test[:limit]
    batches = data
    if isinstance(data, keras.utils.PyDataset):
        numbers = itertools.count() if data.num_batches is None else range(data.num_batches)
        batches = (data[number] for number in numbers)
    images, labels, count = [], [], 0
    for batch in batches:
        if not (isinstance(batch, (tuple, list)) and len(batch) >= 2):
            raise ValueError(f"Expected batches (images, labels). Received: a {type(batch).__name__}")
        images.append(keras.ops.convert_to_numpy(batch[0]))
        labels.append(keras.ops.convert_to_numpy(batch[1]))
        count += len(images[-1])
        if limit is not None and count >= limit:
            break
    if not images:
        raise ValueError("Expected batches (images, labels). Received: a data set without batches")
    return np.concatenate(images)[:limit], np.concatenate(labels)[:limit]


def most_confident(model: Any, images: Any, labels: Any, confidence: float = 0.5, batch_size: int = 32) -> np.ndarray:
    """The images that a model classifies correctly and with confidence, the most confident first (paper, 4.2).

    They are ordered by the logit of their class, or, for a softmax, by its log-odds. Probabilities would not order
    them: in float32 they are 1 for all logits above 17. A model that ends in a softmax or sigmoid gives probabilities
    alone, so that such images keep their order.

    Args:
        model: a Keras model that `keras_coda.attributions.Classifier` takes, or a `Classifier`.
        images: array of N images as the model takes them.
        labels: integers `(N,)` or `(N, 1)`.
        confidence: number in [0, 1), which the probability of the image's class must exceed.
        batch_size: integer.

    Returns:
        Their indices, int64.

    Raises:
        ValueError: images or labels are not of this form.

    Example:

    >>> best = keras_coda.metrics.most_confident(model, x_test, y_test)[:16]
    """
    classifier = as_classifier(model)
    labels = as_labels(labels, len(images), classifier.classes)
    outputs = outputs_of(classifier, images, batch_size)
    of_label = _of(labels, classifier.probabilities(outputs))
    # The largest output has the largest probability, whatever the activation.
    chosen = np.flatnonzero((outputs.argmax(-1) == labels) & (of_label > confidence))
    order = confidence_of(classifier, outputs, labels)
    return chosen[np.argsort(-order[chosen], kind="stable")]


def outputs_of(classifier: Classifier, images: Any, batch_size: int = 32) -> np.ndarray:
    """The outputs `(N, classes)` for images."""
    # In parts, since encoded images in float32 take many times the memory of 8-bit images.
    size = 32 * batch_size
    parts = [
        classifier.outputs(classifier.source(images[start : start + size]), batch_size)
        for start in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def _of(labels, values):
    return np.take_along_axis(values, labels[:, np.newaxis], axis=-1)[:, 0]


def confidence_of(classifier: Classifier, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Numbers `(N,)` that order images by the probability of their label, also where it rounds to 1."""
    of_label = _of(labels, outputs).astype("float64")
    if classifier.activation is not keras.activations.softmax:
        return of_label
    others = outputs.astype("float64")
    np.put_along_axis(others, labels[:, np.newaxis], -np.inf, axis=-1)
    return of_label - np.logaddexp.reduce(others, axis=-1)


def as_classifier(model: Any) -> Classifier:
    """`model` itself if it is a `Classifier`, or the `Classifier` of a model."""
    return model if isinstance(model, Classifier) else Classifier(model)


def as_labels(labels: Any, count: int, classes: int | None = None) -> np.ndarray:
    """Labels as int64 `(N,)`. Raises a ValueError if they are not `count` integers (in 0..classes - 1)."""
    labels = keras.ops.convert_to_numpy(labels)
    shape = labels.shape
    if shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,) or not count or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"Expected one integer label for each of {count} images, one at least. "
            f"Received: an array of {labels.dtype} and shape {shape}"
        )
    if classes is not None and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"Labels must be in 0..{classes - 1}, the classes of the model. Received: {labels.min()} to {labels.max()}"
        )
    return labels.astype("int64")
