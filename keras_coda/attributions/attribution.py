"""What all attributions share: one constructor and one call."""

import keras
import numpy as np

from keras_coda import backend
from keras_coda.attributions.classifier import Classifier
from keras_coda.explanations import targets as classes_to_explain
from keras_coda.explanations.snapshot import is_same, snapshot
from keras_coda.linear_maps import Graph
from keras_coda.models.class_names import to_indices


class Attribution:
    """A method that attributes a model's outputs to the pixels of its images.

    All are called alike: `Method(model, **settings)(images, targets)`. What is attributed is the model as it is at each
    call, its layers' settings included. Methods can be copied and pickled, and used by several threads.

    Args:
        model: any built Sequential or Functional Keras model that takes one batch of images to `(N, classes)`, of
            which the outputs as they are get attributed. Build a classifier without its softmax to explain logits.
        batch_size: integer, how many images the model is given at once.
        input: of a model with an `InputEncoding`: "encoded", attributions are for the encoded image, and baselines and
            covered pixels are 0 in all of its channels; or "image", for the image itself, where 0 is black. The maps of
            these are of different definitions, and so are their scores.

    Raises:
        ValueError: the model is not of this form, or `input` is neither.
    """

    _arguments: tuple[tuple, dict]

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self._arguments = args, kwargs
        return self

    def __init__(self, model, batch_size=32, input="encoded"):
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
        self.classifier = Classifier(model, input=input)
        self.input = input
        self.batch_size = batch_size
        graph = Graph.of(model)
        self._made_of = graph, snapshot(graph.operations)

    def __reduce__(self):
        """A copy, or a pickle, is a method made anew of a copy of the model, with the settings of this one."""

        def named(value):
            is_layer = isinstance(value, keras.layers.Layer) and value is not self.classifier.model
            return value.name if is_layer else value

        args, kwargs = self._arguments
        kwargs = {name: named(value) for name, value in kwargs.items()}
        return _made, (type(self), [named(value) for value in args], kwargs), self._settings()

    def _settings(self):
        """What may have been set since it was made: all that has a public name and is not of the model."""
        of_model = ("classifier", "layer")
        return {name: value for name, value in vars(self).items() if name[0] != "_" and name not in of_model}

    def _follow_changes(self):
        """Be made anew, with the settings of now, where the model has been given other layers or settings since."""
        graph, (old, settings) = Graph.of(self.classifier.model), self._made_of
        if not (graph.is_same(old) and is_same(snapshot(graph.operations), settings)):
            args, kwargs = self._arguments
            vars(self).update({**vars(type(self)(*args, **kwargs)), **self._settings()})

    def __call__(self, images, targets=None, verbose=0):
        """Attribute outputs to pixels.

        Args:
            images: array or tensor of N images as the model takes them. CoDA-Nets take floats in [0, 1] or
                integers in 0..255.
            targets: the classes: `None`, the predicted one of each image; "all"; or integers, one for all images,
                `(N,)` for one an image, or `(N, K)` for K an image, which share what does not depend on the class. Of a
                model with `class_names`, as a `CoDANet` may have, their names do as well.
            verbose: 1 shows a progress bar.

        Returns:
            A float32 array `(N, H, W)`, or, of a method that tells channels apart, `(N, H, W, C)` (or `(N, C, H, W)`,
            as the model takes images). With several targets an image there is an axis of size K after the first.

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

    def maps(self, images, targets=None, verbose=0):
        """The same, summed over channels: always `(N, H, W)`, or `(N, K, H, W)` for several targets an image."""
        attributions = self(images, targets, verbose)
        targets = to_indices(targets, getattr(self.classifier.model, "class_names", None))
        several = np.ndim(targets) == 2 or isinstance(targets, str)
        has_channels = attributions.ndim == (5 if several else 4)
        return attributions.sum(axis=self.classifier.channel_axis) if has_channels else attributions

    def _attribute(self, images, source, targets, verbose):
        """`(N, K, H, W)` or with channels, for `source` arrays of `images`, and int32 `targets` `(N, K)`."""
        raise NotImplementedError


def _made(cls, args, kwargs):
    return cls(*args, **kwargs)
