"""One operation of a model where it is applied, and its W(a) (paper, eq. 5)."""

import typing

import keras

from keras_coda.linear_maps.by_gradient import elementwise_function
from keras_coda.linear_maps.known import LAYERS, is_piecewise_linear, known, overridden
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError


def describe(operation):
    """A layer or operation as error messages name it."""
    return f"layer {operation.name!r} ({type(operation).__name__})"


class Step:
    """A layer, or an operation of `keras.ops`, applied to tensors of a graph.

    Attributes:
        operation: the layer or operation.
        name: its name.
        sources, results: the numbers of the tensors that it takes and gives, in the order of its arguments.
        arguments: all that it is called with, as Keras keeps it: the tensors, and constants beside them. `None`: it is
            called with its one tensor.
    """

    def __init__(self, operation, sources, results, arguments=None):
        self.operation = operation
        self.name = operation.name
        self.sources = sources
        self.results = results
        self.arguments = arguments

    def __str__(self):
        return f"The {describe(self.operation)}"

    @property
    def several_results(self):
        return len(self.results) > 1

    def fill(self, inputs):
        """`(args, kwargs)` of the call, with tensors `inputs` in their places."""
        if self.arguments is None:
            return tuple(inputs), {}
        symbols = self.arguments.keras_tensors
        return self.arguments.fill_in({id(symbol): x for symbol, x in zip(symbols, inputs, strict=True)})

    def __call__(self, inputs, replace=None):
        """What the operation makes of a list of tensors, or what `replace(operation)` makes of it."""
        args, kwargs = self.fill(inputs)
        return (self.operation if replace is None else replace(self.operation))(*args, **kwargs)

    def infer(self, inputs):
        """The same as the model does it in inference."""
        args, kwargs = self.fill(inputs)
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs = {"training": False, **kwargs}
        return self.operation(*args, **kwargs)

    def linear_map(self, inputs, piecewise_linear=False):
        """The outputs for a list of tensors, and W: `W @ vectors` and `W.T @ u` take and give lists, as inputs are.

        Raises:
            NotDynamicLinearError: the operation is not dynamic linear, or not known to be.
        """
        args, kwargs = self.fill(inputs)
        if not isinstance(self.operation, keras.Layer):
            return _operation_map(self, inputs, piecewise_linear)
        self._check_arguments(args, kwargs)
        outputs, W = layer_map(self.operation, args[0], piecewise_linear)
        if isinstance(args[0], (list, tuple)):
            return outputs, W
        return outputs, LinearMap(lambda v: W @ v[0], lambda u: [W.T @ u], W.offset)

    def _check_arguments(self, args, kwargs):
        others = {name: value for name, value in kwargs.items() if value is not None and name != "training"}
        if len(args) != 1 or others:
            raise NotDynamicLinearError(
                f"{self} is called with more than the one argument that linear maps are for. "
                f"Received: {len(args)} arguments, and {sorted(others)}"
            )
        if kwargs.get("training"):
            raise NotDynamicLinearError(
                f"{self} is called with training=True, but what is explained is the model in inference."
            )


def _operation_map(step, inputs, piecewise_linear):
    of_class = known(step.operation)
    if of_class.linear_map is not None:
        return of_class.linear_map(step, inputs)
    if of_class.pieces is not None and piecewise_linear:
        return of_class.pieces(step, inputs)
    raise NotDynamicLinearError(
        f"{step} is not dynamic linear: its output is no W(x) x known here, so that no contributions can be read "
        f"off.{_hint(of_class.pieces)}"
    )


def layer_map(layer, inputs, piecewise_linear=False):
    """A layer's outputs for `inputs`, and the matrix W(inputs) that made them.

    Args:
        layer: a built Keras layer, in inference mode.
        inputs: what the layer takes: a tensor with a batch axis, or a list of them.
        piecewise_linear: whether ReLU and maximum pooling are taken for the linear maps that they are at `inputs`.

    Returns:
        `(outputs, LinearMap)`, of which the transpose gives a list where the layer takes one.

    Raises:
        NotDynamicLinearError: the layer is not dynamic linear, or not known to be.
    """
    if hasattr(layer, "linear_map"):
        return layer.linear_map(inputs)
    of_class = known(layer)
    if of_class.linear_map is not None:
        activation = getattr(layer, "activation", None)
        outputs, W = of_class.linear_map(layer, inputs)
        if _is_linear(activation):
            return outputs, W
        if piecewise_linear and is_piecewise_linear(activation):
            return _then(activation, outputs, W)
        raise NotDynamicLinearError(
            f"The {describe(layer)} is not dynamic linear: it has the activation "
            f"{keras.activations.serialize(activation)!r}. Expected: none.{_hint(is_piecewise_linear(activation))}"
        )
    if of_class.pieces is not None and piecewise_linear:
        return of_class.pieces(layer, inputs)
    raise NotDynamicLinearError(
        f"The {describe(layer)} is not dynamic linear: its output is no W(x) x known here, so that no "
        f"contributions can be read off.{_why_unknown(layer)}{_hint(of_class.pieces)} A layer of your own can say "
        "what its W(x) is in a method `linear_map(inputs)`, see `keras_coda.LinearMap`."
    )


def needs_pieces(operation):
    """Whether a layer or operation has a linear map only where piecewise linear functions are taken for such."""
    if hasattr(operation, "linear_map"):
        return False
    of_class = known(operation)
    if of_class.linear_map is None:
        return of_class.pieces is not None
    activation = getattr(operation, "activation", None)
    return not _is_linear(activation) and is_piecewise_linear(activation)


def _is_linear(activation):
    if activation in (None, keras.activations.linear):
        return True
    # Serialising imports TensorFlow where it is installed, whichever backend is active: only for what is unusual.
    return keras.activations.serialize(activation) == "linear"


def _then(activation, outputs, W):
    """A linear map and then a piecewise linear activation."""
    outputs, pieces = elementwise_function(activation, outputs)
    offset = pieces.offset if W.offset is None else pieces.offset + pieces @ W.offset
    return outputs, LinearMap((pieces @ W)._apply, (W.T @ pieces.T)._apply, offset)


def _why_unknown(layer):
    mode = getattr(layer, "quantization_mode", None)
    if mode is not None:
        return f" It is quantized ({mode!r}), and computes with rounded inputs."
    cls: typing.Any = next((cls for cls in type(layer).__mro__ if cls in LAYERS), None)
    own = sorted(overridden(layer, cls)) if cls else []
    return f" It has its own {', '.join(f'`{name}`' for name in own)}, unlike {cls.__name__}." if own else ""


def _hint(pieces):
    if not pieces:
        return ""
    return " With `piecewise_linear=True` it is taken for the linear map that it is at its input."
