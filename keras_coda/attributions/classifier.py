"""A model in the form that attributions and metrics need: from the (encoded) image to the classes' outputs."""

import typing

import keras
import numpy as np

from keras_coda.attributions.probabilities import activation_of
from keras_coda.checks import check_images, check_outputs, check_shape
from keras_coda.explanations.snapshot import is_same, snapshot
from keras_coda.layers import InputEncoding
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.layout import channel_axis
from keras_coda.linear_maps.views import view
from keras_coda.program import Program

INPUTS = ("encoded", "image")


class Part(Program):
    """A part of a model: a function of a tensor, and the operations that it uses."""

    def __init__(self, name, function, operations):
        super().__init__(name)
        self._function = function
        self._layers_used = [operation for operation in operations if isinstance(operation, keras.Layer)]

    def call(self, inputs):
        return self._function(inputs)


class Classifier:
    """A Keras model of images, split at the source of attributions.

    The source is the output of the model's `InputEncoding`, if it has one. All channels of a pixel, those of the
    negative image included, are then attributed or removed together (paper, 4.2), and 0 in all channels is no colour.
    Otherwise, or with `input="image"`, the source is the image itself, where 0 is black (encoded: 0, 0, 0, 1, 1, 1).

    Args:
        model: a built Sequential or Functional model that takes a batch of images and returns `(N, classes)`.
        activation: the function from outputs to probabilities: "sigmoid", "softmax" or "linear" (the outputs are
            probabilities). Default: "sigmoid" after a `LogitScaling`, as in CoDA-Nets; "linear" after a softmax or
            sigmoid; otherwise "softmax" (for one class "sigmoid"), and an error if all outputs lie in [0, 1], which
            may be probabilities already. Averages and concatenations of such heads have the function of the heads.
        input: "encoded" or "image", the source in a model with an `InputEncoding`.

    Attributes:
        graph: the `Graph` from the source to the outputs.
        network: Keras model from the source to the outputs, for `predict`.
        dtype: string, dtype of the source.
        encoding: the model's `InputEncoding`, or `None`.
        before: the model of the layers before it, or `None` if it takes the images.
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
        self._all_operations, self._settings = walk.operations, snapshot(walk.operations)
        self._split(walk)
        axis = channel_axis(walk, self.graph.inputs[0])
        if axis not in (1, 3):
            raise ValueError(
                f"Model {model.name!r} takes images with channels between height and width. Expected: (N, H, W, C) or "
                "(N, C, H, W)."
            )
        self.data_format = "channels_first" if axis == 1 else "channels_last"
        last = self.data_format == "channels_last"
        self.channel_axis, self.pixel_axes = (-1, (-3, -2)) if last else (-3, (-2, -1))
        name, certain = activation_of(walk, self.classes) if activation is None else (activation, True)
        self.activation = keras.activations.get(name)
        self._is_certain = certain

    def _split(self, walk):
        """Split the graph of the model at the source."""
        model = self.model
        dtype = model.inputs[0].dtype
        # Sources are masked, averaged and differentiated, so that they are floats.
        self._image_dtype = dtype if keras.backend.is_float_dtype(dtype) else "float32"
        self.encoding: InputEncoding | None = None
        self.graph, self.dtype, self.before = walk, self._image_dtype, None
        encodings = [step for step in walk.steps if isinstance(step.operation, InputEncoding)]
        if encodings:
            last = encodings[-1]
            self.encoding = last.operation
            _, after = walk.between(lambda step: step is last, walk.outputs)
            if after.inputs != last.results:
                raise ValueError(
                    f"Model {model.name!r} does not pass its images through one `InputEncoding`, once, so that there "
                    "is no one encoded image to which to attribute. Expected: every path from the images to the "
                    f"outputs passes it. Received: {len(encodings)} of them, the last of which is {last.name!r}"
                )
            if last.sources != walk.inputs:
                # What comes before the encoding is part of the model.
                before, _ = walk.between(lambda step: last.sources[0] in step.results, last.results)
                self.before = Part(f"{model.name}_before", lambda images: before.run([images])[0], before.operations)
            if self.input == "encoded":
                self.graph = after
            if self.in_unit_range:
                self.dtype = self.encoding.compute_dtype
        self.network = Part(f"{model.name}_from_source", self.forward, self.operations)

    @property
    def in_unit_range(self) -> bool:
        """Whether sources are in [0, 1]: they are what an `InputEncoding` takes, or what it gives."""
        return self.encoding is not None and (self.input == "encoded" or self.before is None)

    @property
    def operations(self) -> list[keras.Operation]:
        """The layers and operations from the source to the outputs, each once. Nested models are unrolled."""
        return [operation for operation in self.graph.operations if operation is not self.encoding]

    def in_float32(self) -> "Classifier":
        """The same classifier with its float16 layers in float32, since small gradients become 0 in float16.

        Returns this classifier itself if one of them has float16 weights or inner layers: Keras converts neither.
        """
        low = [operation for operation in self.graph.operations if _dtype_of(operation) == "float16"]
        if not low or any(layer.variable_dtype == "float16" or layer._layers for layer in low):
            return self
        views = {id(layer): view(layer, _dtype_policy=keras.DTypePolicy("float32")) for layer in low}
        other = object.__new__(Classifier)
        vars(other).update(vars(self), dtype="float32", encoding=views.get(id(self.encoding), self.encoding))
        other.graph = self.graph.with_operations(lambda operation: views.get(id(operation), operation))
        other.network = Part(self.network.name, other.forward, other.operations)
        return other

    def _follow_changes(self):
        """Have programs compiled anew where layers have been given other settings since."""
        now = snapshot(self._all_operations)
        if not is_same(now, self._settings):
            self._settings = now
            for program in (self.before, self.network):
                if program is not None:
                    program.predict_function = None

    def forward(self, source: typing.Any, replace: typing.Callable | None = None) -> typing.Any:
        """The outputs for a tensor of sources, as a tensor.

        Args:
            source: tensor `(N, H, W, C)` (or `(N, C, H, W)`).
            replace: function of an operation that returns the function to call in its place, or the operation itself.
        """

        def called(operation):
            if operation is self.encoding:
                # Without the layer's check of the range, since noise may exceed it.
                return lambda images, **_: self._encode(images)
            return operation if replace is None else replace(operation)

        return self.graph.run([keras.ops.cast(source, self.dtype)], called)[0]

    def _encode(self, images):
        encoding: typing.Any = self.encoding
        return encoding.encode(keras.ops.cast(images, encoding.compute_dtype))

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
        # `predict` takes any number of images, also where the input has a fixed one.
        expected = (None, *self.model.inputs[0].shape[1:])
        check_shape(self.model.name, expected, images.shape)
        if not len(images):
            raise ValueError(f"Expected at least one image. Received: shape {images.shape}")
        check_images(self.model.name, images, self.model.inputs[0].dtype)
        if self.encoding is not None and self.before is None:
            images = to_unit_range(images)
        source = images.astype(self._image_dtype)
        if self.encoding is None:
            return source
        encoded = source
        if self.before is not None:
            # Integers stay integers up to the encoding, which divides them. Sources are floats, also before it.
            taken = images.astype(self.model.inputs[0].dtype) if self.input == "encoded" else source
            self._follow_changes()
            try:
                encoded = to_unit_range(self.before.predict(taken, verbose=0))
            except ValueError as error:
                if taken.dtype == images.dtype:
                    raise
                raise ValueError(
                    f"Model {self.model.name!r} divides integer images after other layers, and sources are floats. "
                    f'Expected: `input="encoded"`. Received: {images.dtype} images, and input={self.input!r}'
                ) from error
        if self.input == "image":
            return source.astype(self.dtype)
        return keras.ops.convert_to_numpy(self.encoding(encoded, training=False))

    def encode(self, source: np.ndarray) -> np.ndarray:
        """The encoded images of an array of sources, which the layers after the `InputEncoding` take."""
        if self.encoding is None or self.input == "encoded":
            return source
        return keras.ops.convert_to_numpy(self._encode(keras.ops.convert_to_tensor(source)))

    def outputs(self, source: typing.Any, batch_size: int | None = 32, verbose: int = 0) -> np.ndarray:
        """The outputs, float32 `(N, classes)`.

        Args:
            source: array of sources, or a `keras.utils.PyDataset` with batches of them.
            batch_size: integer, sources evaluated at once.
            verbose: 1 shows a progress bar.

        Raises:
            ValueError: an output is NaN or infinite.
        """
        if isinstance(source, keras.utils.PyDataset):
            batch_size = None
        self._follow_changes()
        outputs = self.network.predict(source, batch_size=batch_size, verbose=verbose).astype("float32")
        check_outputs(self.model.name, outputs)
        return outputs

    def probabilities(self, outputs: typing.Any) -> np.ndarray:
        """The probabilities `(N, classes)`, from outputs `(N, classes)`.

        Raises:
            ValueError: they are probabilities already, though the model does not end with a softmax or sigmoid.
        """
        self.require_logits(outputs)
        return keras.ops.convert_to_numpy(self.activation(keras.ops.convert_to_tensor(outputs)))

    def require_logits(self, outputs: typing.Any) -> None:
        """Raise a `ValueError` where a function was guessed for outputs `(N, classes)` that may be probabilities."""
        if self._is_certain:
            return
        outputs = np.asarray(keras.ops.convert_to_numpy(outputs), "float64")
        if np.all((outputs >= 0) & (outputs <= 1)):
            raise ValueError(
                f"The outputs of model {self.model.name!r} lie in [0, 1]: they may be probabilities already, though "
                "its last operation is no softmax or sigmoid. Expected: logits, or a `Classifier(model, activation)`, "
                'with "linear" for probabilities.'
            )

    def check_activation(self, activation: typing.Any, source: typing.Any) -> None:
        """`require_logits` for the outputs of sources, before a compiled program applies `activation`.

        One that is not the guessed one was chosen by the user, and is not checked.
        """
        if activation is self.activation and not self._is_certain:
            self.require_logits(self.outputs(source))


def _dtype_of(operation):
    """The dtype in which a layer computes; `None` for other operations."""
    return operation.compute_dtype if isinstance(operation, keras.Layer) else None


def name_of(function: typing.Callable) -> str:
    """The name of a function, to tell the settings of evaluations apart."""
    return getattr(function, "__name__", type(function).__name__)


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
