"""The base class of all attribution methods."""

from typing import Any

import keras
import numpy as np

from keras_coda import backend
from keras_coda.attributions.classifier import Classifier
from keras_coda.checks import check_positive
from keras_coda.explanations import targets as classes_to_explain
from keras_coda.explanations.snapshot import is_same, snapshot
from keras_coda.linear_maps import Graph
from keras_coda.models.class_names import to_indices


class Attribution:
    """A method that attributes a model's outputs to the pixels of its images.

    All methods are called alike: `Method(model, **settings)(images, targets)`. They attribute the outputs of the model
    as it is at each call, with its layers' settings of that time. Methods can be copied and pickled, and used by
    several threads. Gradients are computed in float32 in place of mixed_float16, if no layer in float16 has layers of
    its own.

    Args:
        model: a built Sequential or Functional Keras model that takes a batch of images and returns `(N, classes)`. Its
            outputs are attributed as they are. To explain logits, build a classifier without its softmax.
        batch_size: integer, how many images the model gets at once.
        input: for a model with an `InputEncoding`. "encoded": attributions are for the encoded image, and baselines and
            covered pixels are 0 in all of its channels. "image": attributions are for the image itself, where 0 is
            black. These are two definitions, so that their maps and scores differ.

    Raises:
        ValueError: the model is not of this form, or `input` is neither.

    Example:

    >>> keras_coda.attributions.InputXGradient(model)(images, targets="all").shape
    (2, 10, 16, 16, 1)
    """

    _arguments: tuple[tuple, dict]

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self._arguments = args, kwargs
        return self

    def __init__(self, model: keras.Model, batch_size: int = 32, input: str = "encoded"):
        check_positive(batch_size=batch_size)
        self.classifier = Classifier(model, input=input)
        self.input = input
        self.batch_size = batch_size
        graph = Graph.of(model)
        self._made_of = graph, snapshot(graph.operations)

    def __reduce__(self):
        """For copies and pickles: the method is made again, with the same settings, for a copy of the model."""

        def named(value):
            is_layer = isinstance(value, keras.layers.Layer) and value is not self.classifier.model
            return value.name if is_layer else value

        args, kwargs = self._arguments
        kwargs = {name: named(value) for name, value in kwargs.items()}
        return _made, (type(self), [named(value) for value in args], kwargs), self._settings()

    def _settings(self):
        """What may have been set since it was made: all that has a public name and does not follow from the model."""
        of_model = ("classifier", "layer", "input", "activation")
        return {name: value for name, value in vars(self).items() if name[0] != "_" and name not in of_model}

    def _follow_changes(self):
        """Be made anew, with the settings of now, where the model has been given other layers or settings since."""
        graph, (old, settings) = Graph.of(self.classifier.model), self._made_of
        if not (graph.is_same(old) and is_same(snapshot(graph.operations), settings)):
            args, kwargs = self._arguments
            vars(self).update({**vars(type(self)(*args, **kwargs)), **self._settings()})

    def __call__(self, images: Any, targets: Any = None, verbose: int = 0) -> np.ndarray:
        """Attribute outputs to pixels.

        Args:
            images: array or tensor of N images as the model takes them. CoDA-Nets take floats in [0, 1] or
                integers in 0..255.
            targets: the classes. `None`: the predicted class of each image. "all": all classes. Integers, or names if
                the model has `class_names`: one for all images, `(N,)` for one an image, or `(N, K)` for K an image.
                Several targets are computed together, which is faster than one after the other.
            verbose: 1 shows a progress bar.

        Returns:
            A float32 array `(N, H, W)`. Methods that distinguish channels return `(N, H, W, C)`, or `(N, C, H, W)` for
            a model with channels first. With several targets an image, there is an axis of size K after the first.

        Raises:
            ValueError: images of another shape or range, or NaN; a target out of range.
        """
        with backend.one_at_a_time:
            self._follow_changes()
            return self._of_images(keras.ops.convert_to_numpy(images), targets, verbose)

    def _of_images(self, images, targets, verbose):
        targets = to_indices(targets, getattr(self.classifier.model, "class_names", None))
        source = self.classifier.source(images)
        chosen, several = classes_to_explain.to_flat_indices(targets, len(source), (self.classifier.classes,))
        if np.any(chosen == classes_to_explain.PREDICTED):
            chosen = np.argmax(self.classifier.outputs(source, self.batch_size), axis=-1)[:, np.newaxis]
        attributions = self._attribute(images, source, chosen.astype("int32"), verbose).astype("float32", copy=False)
        return attributions if several else attributions[:, 0]

    def maps(self, images: Any, targets: Any = None, verbose: int = 0) -> np.ndarray:
        """Attribute outputs to pixels, summed over channels.

        Args:
            images, targets, verbose: as for a call.

        Returns:
            A float32 array `(N, H, W)`, or `(N, K, H, W)` for several targets an image.

        Raises:
            ValueError: as for a call.

        Example:

        >>> keras_coda.attributions.Gradient(model).maps(images, targets=3).shape
        (2, 16, 16)
        """
        attributions = self(images, targets, verbose)
        targets = to_indices(targets, getattr(self.classifier.model, "class_names", None))
        several = np.ndim(targets) == 2 or isinstance(targets, str)
        has_channels = attributions.ndim == (5 if several else 4)
        return attributions.sum(axis=self.classifier.channel_axis) if has_channels else attributions

    def _attribute(self, images, source, targets, verbose):
        """`(N, K, H, W)` or with channels, for `images`, their `source`, and int32 `targets (N, K)`."""
        raise NotImplementedError


def _made(cls, args, kwargs):
    return cls(*args, **kwargs)
