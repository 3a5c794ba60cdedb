"""A model with the test images for its evaluation."""

import os
import pathlib

import keras
import numpy as np

from keras_coda import data, presets
from keras_coda.attributions import Classifier
from keras_coda.backend.conventions import channels_last
from keras_coda.explanations.snapshot import is_same, snapshot
from keras_coda.layers import LogitScaling
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.linear_maps import Graph
from keras_coda.metrics import pieces
from keras_coda.metrics.selection import confidence_of, outputs_of
from keras_coda.presets.names import is_path
from keras_coda.presets.saving import image_shape_of


class Subject:
    """A model with a data set's test images.

    Args:
        model: a Keras model that `keras_coda.attributions.Classifier` takes.
        dataset: a `keras_coda.data.Dataset`.
        name: name of the model. Default: `model.name`.
        folder: path of the preset into whose metadata the results are to be written. Default: none.

    Attributes:
        classifier: the `Classifier`.
        classes: names of the classes.
        images, labels: the test images, as the model takes them, and their classes. Those of a data set that is ordered
            by class, such as a folder of photos, are in a random order, always the same: metrics take the first ones.

    Raises:
        ValueError: the model is not of this form, or has another number of classes than the data set.

    Example:

    >>> subject = keras_coda.reports.Subject(model, keras_coda.data.load("digits"))
    >>> subject.images.shape
    (360, 16, 16, 1)
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: data.Dataset,
        name: str | None = None,
        folder: str | os.PathLike | None = None,
    ) -> None:
        self.model = model
        self._model_then: list = []
        self.folder = folder
        self.classifier = Classifier(model)
        self.name = model.name if name is None else name
        self.classes = list(dataset.classes)
        if len(self.classes) != self.classifier.classes:
            raise ValueError(
                f"Expected a data set of the {self.classifier.classes} classes of model {self.name!r}. "
                f"Received: one of {len(self.classes)} classes"
            )
        self.images, self.labels = np.asarray(dataset.x_test), np.asarray(dataset.y_test)
        if np.array_equal(self.labels, np.sort(self.labels)):
            order = np.random.default_rng(0).permutation(len(self.labels))
            self.images, self.labels = self.images[order], self.labels[order]
        if self.data_format == "channels_first":
            self.images = np.moveaxis(self.images, -1, 1)

    @classmethod
    def load(
        cls,
        handle: str | os.PathLike,
        dataset: str | None = None,
        data_dir: str | os.PathLike | None = None,
        unit_range: bool = False,
    ) -> "Subject":
        """Load a preset or a saved model, with a data set.

        Args:
            handle: a preset's name or folder, or the path of a .keras file.
            dataset: what `keras_coda.data.load` takes. Default: the data set that the preset was trained on.
            data_dir: folder in which TFDS keeps its data.
            unit_range: set it for a .keras file of a model that takes floats in [0, 1], and is no CoDA-Net and does not
                begin with an `InputEncoding`: integer images are divided by 255, as they are for presets. Otherwise the
                model gets the images as the data set has them.

        Raises:
            ValueError: the name is unknown, a .keras file is given without a data set, or a folder of photos has other
                classes than the model, if that has names of them.
        """
        path, folder = pathlib.Path(handle), None
        is_preset = path.suffix != ".keras"
        if is_preset:
            facts = presets.metadata(handle)
            model, name, shape = presets.load(handle), facts["name"], facts["image_shape"]
            classes = facts["classes"]
            dataset = facts["dataset"] if dataset is None else dataset
            if is_path(handle) and dataset == facts["dataset"]:
                folder = path
        else:
            if dataset is None:
                raise ValueError(f"A .keras file does not say what data it is for. Expected: a data set with {path}")
            model, name = keras.saving.load_model(path, compile=False), path.stem
            shape, classes = image_shape_of(model), getattr(model, "class_names", None)
        classifier = Classifier(model)
        loaded = data.load(dataset, data_dir, channels_last(shape, classifier.data_format))
        if unit_range or (is_preset and classifier.encoding is None):
            loaded = loaded._replace(x_test=to_unit_range(np.asarray(loaded.x_test), check=False))
        if classes is not None and data.dataset.is_photos(dataset) and list(loaded.classes) != [*classes]:
            raise ValueError(f"{dataset} must have the classes of {name}, {[*classes]}. Received: {loaded.classes}")
        return cls(model, loaded, name, folder)

    @property
    def data_format(self):
        """The data format of the images."""
        return self.classifier.data_format

    @property
    def outputs(self):
        """The outputs for all images, `(N, classes)`. They are computed once, and again if the model was changed."""
        now = [pieces.digest(self.model.get_weights()), *snapshot(Graph.of(self.model).operations)]
        if not is_same(now, self._model_then):
            self._outputs, self._model_then = outputs_of(self.classifier, self.images), now
        return self._outputs

    @property
    def correct(self) -> np.ndarray:
        """`(N,)`: whether the predicted class is the label."""
        return np.argmax(self.outputs, axis=1) == self.labels

    def top_accuracy(self, k: int) -> float:
        """The share of the images whose label is among the `k` largest outputs."""
        among = keras.metrics.sparse_top_k_categorical_accuracy(self.labels, self.outputs, k)
        return float(np.mean(keras.ops.convert_to_numpy(among)))

    @property
    def of_label(self):
        """`(N,)`: the output for the label."""
        return self.outputs[np.arange(len(self.labels)), self.labels]

    @property
    def temperature(self):
        """T of eq. (9); `None` for a model without T."""
        scaling = [layer for layer in self.model.layers if isinstance(layer, LogitScaling)]
        return scaling[-1].temperature if scaling else None

    def most_confident(self, correct: np.ndarray | None = None) -> np.ndarray:
        """For each class the index of its most confident correct image, ordered by confidence, the highest first."""
        correct = self.correct if correct is None else correct
        order = np.argsort(-confidence_of(self.classifier, self.outputs, self.labels), kind="stable")
        order = order[correct[order]]
        _, first = np.unique(self.labels[order], return_index=True)
        return order[np.sort(first)]
