"""One use of an operation in a model, and its W(a) (paper, eq. 5)."""

import typing

import keras

from keras_coda.linear_maps.by_gradient import elementwise_function
from keras_coda.linear_maps.known import LAYERS, is_piecewise_linear, known, overridden
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError, of_list


def describe(operation: keras.Operation) -> str:
    """The name and class of a layer or operation, for error messages."""
    return f"layer {operation.name!r} ({type(operation).__name__})"


def passed(arguments: dict) -> set[str]:
    """The names of the arguments of a call that have a value. Keras records a list of `None` as a model's masks."""
    return {name for name, value in arguments.items() if any(v is not None for v in keras.tree.flatten(value))}


class Step:
    """One use of a layer, or of an operation of `keras.ops`, in a graph.

    Attributes:
        operation: the layer or operation.
        name: its name.
        sources: the numbers of the tensors that it takes, in the order of its arguments.
        results: the numbers of the tensors that it returns.
        arguments: Keras' record of all arguments of the call, tensors and constants. `None`: a single tensor.
    """

    def __init__(
        self, operation: keras.Operation, sources: list[int], results: list[int], arguments: typing.Any = None
    ):
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
        """The arguments `(args, kwargs)` of the call in inference, with the tensors `inputs` filled in."""
        args, kwargs = tuple(inputs), {}
        if self.arguments is not None:
            symbols = self.arguments.keras_tensors
            args, kwargs = self.arguments.fill_in({id(symbol): x for symbol, x in zip(symbols, inputs, strict=True)})
        if getattr(self.operation, "_call_has_training_arg", False):
            # In place of what Keras has recorded: layers of augmentation have `training=True` by default.
            kwargs = {**kwargs, "training": False}
        return args, kwargs

    def __call__(self, inputs, replace=None):
        """The result for a list of tensors, in inference. With `replace`, that of `replace(operation)` instead."""
        args, kwargs = self.fill(inputs)
        return (self.operation if replace is None else replace(self.operation))(*args, **kwargs)

    def linear_map(self, inputs: list, piecewise_linear: bool = False) -> tuple[typing.Any, LinearMap]:
        """The outputs for a list of tensors, and W. `W @ vectors` takes a list, and `W.T @ u` returns one.

        Raises:
            NotDynamicLinearError: the operation is not dynamic linear, or not known to be.
        """
        args, kwargs = self.fill(inputs)
        if not isinstance(self.operation, keras.Layer):
            return _operation_map(self, inputs, piecewise_linear)
        self._check_arguments(args, kwargs)
        outputs, W = layer_map(self.operation, args[0], piecewise_linear)
        return outputs, W if isinstance(args[0], (list, tuple)) else of_list(W)

    def _check_arguments(self, args, kwargs):
        others = passed(kwargs) - {"training"}
        if len(args) != 1 or others:
            raise NotDynamicLinearError(
                f"{self} is called with more than one argument, which has no linear map. Expected: its inputs alone. "
                f"Received: {len(args)} arguments, and {sorted(others)}"
            )


def _operation_map(step, inputs, piecewise_linear):
    of_class = known(step.operation)
    if of_class.linear_map is not None:
        return of_class.linear_map(step, inputs)
    if of_class.pieces is not None and piecewise_linear:
        return of_class.pieces(step, inputs)
    raise NotDynamicLinearError(
        f"{step} is not dynamic linear: it has no known matrix W(x), so that there are no contributions."
        f"{_hint(of_class.pieces)}"
    )


def layer_map(layer: keras.Layer, inputs: typing.Any, piecewise_linear: bool = False) -> tuple[typing.Any, LinearMap]:
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
        f"The {describe(layer)} is not dynamic linear: it has no known matrix W(x), so that there are no "
        f"contributions.{_why_unknown(layer)}{_hint(of_class.pieces)} A layer of your own can have a method "
        "`linear_map(inputs)` that returns its outputs and W(x), see `keras_coda.LinearMap`."
    )


def needs_pieces(operation: keras.Operation) -> bool:
    """Whether a layer or operation has a linear map with `piecewise_linear=True` only."""
    if hasattr(operation, "linear_map"):
        return False
    of_class = known(operation)
    if of_class.linear_map is None:
        return of_class.pieces is not None
    activation = getattr(operation, "activation", None)
    return not _is_linear(activation) and is_piecewise_linear(activation)


def _is_linear(activation):
    return activation in (None, keras.activations.linear)


def _then(activation, outputs, W):
    """The outputs and the map of a linear layer with a piecewise linear activation after it."""
    outputs, pieces = elementwise_function(activation, outputs)
    offset = pieces.offset if W.offset is None else pieces.offset + pieces @ W.offset
    return outputs, LinearMap((pieces @ W)._apply, (W.T @ pieces.T)._apply, offset)


def _why_unknown(layer):
    mode = getattr(layer, "quantization_mode", None)
    if mode is not None:
        return f" It is quantized ({mode!r}), so that it computes with rounded inputs."
    cls: typing.Any = next((cls for cls in type(layer).__mro__ if cls in LAYERS), None)
    own = sorted(overridden(layer, cls)) if cls else []
    return f" It has its own {', '.join(f'`{name}`' for name in own)}, unlike {cls.__name__}." if own else ""


def _hint(pieces):
    if not pieces:
        return ""
    return " With `piecewise_linear=True` it is treated as the linear map that it is at its input."
