"""A model in the form that attributions and metrics need: from the (encoded) image to the classes' outputs."""

import threading
import typing

import keras
import numpy as np

from keras_coda import backend
from keras_coda.layers import InputEncoding, LogitScaling
from keras_coda.layers.dau import DAU
from keras_coda.layers.input_encoding import to_unit_range
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.layout import channel_axis

INPUTS = ("encoded", "image")
# Keras records a new model at the layers that it is made of. Two threads at once would mix up these records.
_making = threading.RLock()
# Functions that return probabilities, and the same as operations of `keras.ops`, which have no public classes.
_PROBABILITIES = tuple(
    getattr(module, name)
    for module in (keras.activations, keras.ops)
    for name in ("softmax", "sigmoid", "hard_sigmoid", "sparsemax", "sparse_sigmoid")
)
_PROBABILITY_OPERATIONS = ("Softmax", "Sigmoid", "HardSigmoid", "Sparsemax", "SparseSigmoid")
# Layers and operations that do not change values.
_PASSED = ("Reshape", "Flatten", "Squeeze", "ExpandDims", "Cast", "Copy", "Identity", "Dropout", "GetItem")

# How near to 1 probabilities add up, in low precision, too.
_NEAR = 0.01


class Classifier:
    """A Keras model of images, split at the source of attributions.

    The source is the output of the model's `InputEncoding`, if it has one. All channels of a pixel, those of the
    negative image included, are then attributed or removed together (paper, 4.2), and 0 in all channels is no colour.
    Otherwise, or with `input="image"`, the source is the image itself, where 0 is black (encoded: 0, 0, 0, 1, 1, 1).

    Args:
        model: a built Sequential or Functional model that takes a batch of images and returns `(N, classes)`.
        activation: the function from outputs to probabilities: "sigmoid", "softmax" or "linear" (the outputs are
            probabilities). Default: "sigmoid" after a `LogitScaling`, as in CoDA-Nets; "linear" after a softmax or
            sigmoid; otherwise "softmax", and an error if the outputs turn out to be probabilities already, such as the
            average of several networks.
        input: "encoded" or "image", the source in a model with an `InputEncoding`.

    Attributes:
        network: Keras model from the source to the outputs.
        encoding: the model's `InputEncoding`, or `None`.
        classes: integer, the number of classes.
        data_format: "channels_last" or "channels_first".
        pixel_axes: the axes of height and width in a batch of sources, as negative integers.
        channel_axis: the axis of channels, as a negative integer.

    Raises:
        ValueError: the model is not of this form: it has several `InputEncoding`s, or a path around it; or `input` is
            neither.

    Example:

    >>> classifier = Classifier(keras_coda.presets.load("xs_coda_digits"))
    >>> classifier.probabilities(classifier.outputs(classifier.source(images)))    # (N, 10)
    """

    def __init__(self, model: keras.Model, activation: typing.Any = None, input: str = "encoded"):
        if input not in INPUTS:
            raise ValueError(f"`input` must be one of {INPUTS}. Received: {input!r}")
        self.model = model
        self.input = input
        self.classes = _single_output(model).shape[-1]
        walk = Graph.of(model)
        with backend.one_at_a_time, _making:
            start = self._split()
        self.source_shape = tuple(start.shape[1:])
        source = walk.inputs[0]
        if self.encoding is not None and input == "encoded":
            source = next(step.results[0] for step in walk.steps[::-1] if step.operation is self.encoding)
        axis = channel_axis(walk, source)
        if axis not in (1, 3):
            raise ValueError(
                f"Model {model.name!r} takes images with channels between height and width. Expected: (N, H, W, C) or "
                "(N, C, H, W)."
            )
        self.data_format = "channels_first" if axis == 1 else "channels_last"
        last = self.data_format == "channels_last"
        self.channel_axis, self.pixel_axes = (-1, (-3, -2)) if last else (-3, (-2, -1))
        name, certain = _activation(walk) if activation is None else (activation, True)
        self.activation = keras.activations.get(name)
        self._is_certain = certain

    def _split(self):
        """Make the network, and return the tensor that it starts from."""
        model, inputs, outputs = self.model, self.model.inputs[0], self.model.outputs[0]
        encodings = [layer for layer in model.layers if isinstance(layer, InputEncoding)]
        encoding: typing.Any = encodings[-1] if encodings else None
        self.encoding = encoding
        images, start = (inputs, inputs) if encoding is None else _tensors_of(encoding, model)
        # The model up to the encoding, if other layers come before it.
        comes_first = images is inputs
        before: typing.Any = None if comes_first else keras.Model(inputs, images, name=f"{model.name}_before")
        self._before = before
        name = f"{model.name}_from_{'encoding' if encodings else 'images'}"
        try:
            # A Functional model in any case, so that its graph can be run with other operations.
            self.network: keras.Model = keras.Model(start, outputs, name=name)
        except ValueError as error:
            if encoding is None:
                raise
            raise ValueError(
                f"Model {model.name!r} does not pass its images through one `InputEncoding`, once, so that there is no "
                "one encoded image to which to attribute. Expected: every path from the images to the outputs passes "
                f"it. Received: {len(encodings)} of them, the last of which is {encoding.name!r}"
            ) from error
        if encoding is not None and self.input == "image":
            # Without the layer's check of the range, since noise may exceed it.
            dtype = encoding.compute_dtype if comes_first else inputs.dtype
            start = keras.Input(inputs.shape[1:], dtype=dtype)
            images = start if comes_first else keras.ops.cast(before(start), encoding.compute_dtype)
            self.network = keras.Model(start, self.network(encoding.encode(images)), name=f"{model.name}_from_images")
        return start

    def __reduce__(self):
        """A copy, or a pickle, is made anew of a copy of the model."""
        return type(self), (self.model, self.activation if self._is_certain else None, self.input)

    def source(self, images: typing.Any) -> np.ndarray:
        """The sources of images, as a NumPy array.

        Args:
            images: array or tensor of images as the model takes them. A model with an `InputEncoding` takes floats in
                [0, 1], or integers in 0..255.

        Returns:
            Floats `(N, H, W, C)` (or `(N, C, H, W)`). They are encoded if the model has an `InputEncoding` and `input`
            is "encoded".

        Raises:
            ValueError: images of another shape or range, or NaN.
        """
        images = keras.ops.convert_to_numpy(images)
        expected = self.model.inputs[0].shape
        fits = images.ndim == len(expected) and len(images) > 0
        if not (fits and all(e in (None, r) for e, r in zip(expected[1:], images.shape[1:], strict=True))):
            raise ValueError(
                f"Model {self.model.name!r} takes a batch of images of shape {tuple(expected)}. "
                f"Received: shape {images.shape}"
            )
        if self.encoding is not None and self._before is None:
            images = to_unit_range(images)
        elif not np.isfinite(np.sum(images, dtype="float64")):
            raise ValueError("Images must be finite. Received: images with NaN or infinite values.")
        images = images.astype(keras.backend.standardize_dtype(self.model.inputs[0].dtype))
        if self.encoding is None:
            return images
        if self._before is not None:
            with backend.one_at_a_time:
                encoded = to_unit_range(self._before.predict(images, verbose=0))
            images = images if self.input == "image" else encoded
        elif self.input == "image":
            images = images.astype(self.encoding.compute_dtype)
        if self.input == "image":
            return images
        return keras.ops.convert_to_numpy(self.encoding(images, training=False))

    def encode(self, source: np.ndarray) -> np.ndarray:
        """The encoded images of an array of sources, which the layers after the `InputEncoding` take."""
        if self.encoding is None or self.input == "encoded":
            return source
        return keras.ops.convert_to_numpy(self.encoding.encode(keras.ops.convert_to_tensor(source)))

    def outputs(self, source: typing.Any, batch_size: int | None = 32, verbose: int = 0) -> np.ndarray:
        """The outputs, float32 `(N, classes)`.

        Args:
            source: array of sources, or a `keras.utils.PyDataset` with batches of them.
            batch_size: integer, sources evaluated at once.
            verbose: 1 shows a progress bar.
        """
        if isinstance(source, keras.utils.PyDataset):
            batch_size = None
        with backend.one_at_a_time:
            return self.network.predict(source, batch_size=batch_size, verbose=verbose).astype("float32")

    def probabilities(self, outputs: typing.Any) -> np.ndarray:
        """The probabilities `(N, classes)`, from outputs `(N, classes)`.

        Raises:
            ValueError: they are probabilities already, though the model does not end with a softmax or sigmoid.
        """
        self.require_logits(outputs)
        return keras.ops.convert_to_numpy(self.activation(keras.ops.convert_to_tensor(outputs)))

    def require_logits(self, outputs: typing.Any) -> None:
        """Raise a `ValueError` where a softmax was guessed for outputs `(N, classes)` that are probabilities."""
        if self._is_certain:
            return
        outputs = np.asarray(keras.ops.convert_to_numpy(outputs), "float64")
        if np.all(outputs >= 0) and np.all(np.abs(outputs.sum(axis=-1) - 1) < _NEAR):
            raise ValueError(
                f"The outputs of model {self.model.name!r} add up to 1: they are probabilities already, though its "
                'last operation is no softmax. Expected: logits, or `Classifier(model, activation="linear")`.'
            )

    def check_activation(self, activation: typing.Any, source: typing.Any) -> None:
        """The same before an activation is applied in a compiled graph, which is no guess where it is another one."""
        if activation is self.activation and not self._is_certain:
            self.require_logits(self.outputs(source[:1]))


def _single_output(model):
    if not (isinstance(model, keras.Model) and model.built and getattr(model, "inputs", None)):
        raise ValueError(
            "Expected a built Sequential or Functional Keras model. Wrap another one: `inputs = keras.Input(shape)`, "
            f"`keras.Model(inputs, model(inputs))`. Received: {model!r}"
        )
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "Expected one input and one output. For a model with several outputs, choose one: "
            "`keras.Model(model.inputs, model.outputs[0])`. For a model with several inputs, make a model of the "
            "images alone, in which the other inputs are constants. "
            f"Received: model {model.name!r} with {len(inputs)} inputs and {len(outputs)} outputs"
        )
    if len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2 or outputs[0].shape[-1] is None:
        raise ValueError(
            f"Model {model.name!r} must take images (N, H, W, C) and return (N, classes). "
            f"Received: {tuple(inputs[0].shape)} to {tuple(outputs[0].shape)}"
        )
    return outputs[0]


def _tensors_of(layer, model):
    """What a layer takes and returns in a model. Layers may be part of other models as well."""
    functional = model._functional if isinstance(model, keras.Sequential) else model
    nodes = [node for at_depth in functional._nodes_by_depth.values() for node in at_depth if node.operation is layer]
    return nodes[0].input_tensors[0], nodes[0].outputs[0]


def _activation(graph):
    """The name of the function from outputs to probabilities, by the last operation that changes values; if certain."""
    made_by = {number: step for step in graph.steps for number in step.results}
    step = made_by.get(graph.outputs[0])
    while step is not None:
        operation = step.operation
        if isinstance(operation, LogitScaling):
            return "sigmoid", True
        if _makes_probabilities(operation):
            return "linear", True
        if not _changes_nothing(operation):
            break
        step = made_by.get(step.sources[0])
    # Layers with weights and without an activation give logits.
    last = None if step is None else step.operation
    has_weights = isinstance(last, (keras.layers.Dense, keras.layers.Conv2D, DAU))
    return "softmax", has_weights and getattr(last, "activation", None) in (None, keras.activations.linear)


def _changes_nothing(operation):
    return type(operation).__name__ in _PASSED or (
        isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.linear
    )


def _makes_probabilities(operation):
    if isinstance(operation, keras.layers.Softmax):
        return True
    if not isinstance(operation, keras.Layer):
        return type(operation).__name__ in _PROBABILITY_OPERATIONS
    activation = getattr(operation, "activation", None)
    if isinstance(activation, keras.Layer):
        return _makes_probabilities(activation)
    return any(activation is function for function in _PROBABILITIES)
