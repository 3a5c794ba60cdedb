"""Which models show their layers, and their steps in the order in which they are applied, nested models unrolled."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_coda.linear_maps.linear_map import NotDynamicLinearError
from keras_coda.linear_maps.steps import Step, passed


def follows_graph(call: Callable) -> Callable:
    """Mark a model's own `call` as one that computes the same as the model's graph of layers.

    A Functional model with a `call` of its own is refused, since its graph may not be what it computes. Mark a `call`
    that only logs or checks its inputs, and then calls `super().call(...)`.

    Args:
        call: the method.

    Returns:
        The same method.

    Example:

    >>> class Logged(keras.Model):
    ...     @keras_coda.linear_maps.follows_graph
    ...     def call(self, inputs, **kwargs):
    ...         print(inputs.shape)
    ...         return super().call(inputs, **kwargs)
    """
    call.follows_graph = True  # type: ignore[attr-defined]
    return call


def shows_layers(model: Any) -> bool:
    """Whether a model computes its graph of layers and nothing else: a Sequential or Functional one."""
    if not isinstance(model, keras.Model) or not (
        isinstance(model, keras.Sequential) or getattr(model, "inputs", None)
    ):
        return False
    return not own_calls(model)


def own_calls(model: keras.Model) -> list[str]:
    """The names of a Sequential or Functional model's own methods that may compute something else than its graph."""
    names = []
    for name in ("call", "__call__"):
        owner = next(cls for cls in type(model).__mro__ if name in vars(cls))
        of_keras = owner.__module__.split(".")[0] == "keras"
        if name in vars(model) or not (of_keras or getattr(vars(owner)[name], "follows_graph", False)):
            names.append(name)
    return names


class Unrolled:
    """Collects the steps of a model."""

    def __init__(self):
        self.steps = []
        self._count = 0

    def numbers(self, count):
        self._count += count
        return list(range(self._count - count, self._count))

    def apply(self, operation, sources, node=None):
        """Add the steps of an operation that is applied to tensors, and return the numbers of its results."""
        if shows_layers(operation):
            return self.model(operation, sources, node)
        count = 1 if node is None else len(node.outputs)
        step = Step(operation, sources, self.numbers(count), None if node is None else node.arguments)
        self.steps.append(step)
        return step.results

    def model(self, model, sources, node=None):
        _check_built(model)
        if node is not None:
            sources = self._as_taken(model, sources, node)
        # Keras keeps a Sequential's own graph there, as of models that it contains.
        model = getattr(model, "_functional", model)
        numbers = {id(tensor): number for tensor, number in zip(model.inputs, sources, strict=True)}
        by_depth = model._nodes_by_depth
        for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
            if node.is_input or any(id(tensor) not in numbers for tensor in node.input_tensors):
                continue
            results = self.apply(node.operation, [numbers[id(tensor)] for tensor in node.input_tensors], node)
            numbers.update(zip(map(id, node.outputs), results, strict=True))
        return [numbers[id(tensor)] for tensor in model.outputs]

    def _as_taken(self, model, sources, node):
        """The numbers of a nested model's inputs, after the casts that the model makes."""
        taken = []
        args, kwargs = node.arguments.args, node.arguments.kwargs
        others = passed(kwargs) - {"training"}  # which `predict` does not heed
        same = len(args) == 1 and not others and len(node.input_tensors) == len(model.inputs)
        if (
            not same
            or any(len(x.shape) != len(y.shape) for x, y in zip(node.input_tensors, model.inputs, strict=True))
            or isinstance(args[0], dict) != isinstance(model.input, dict)
        ):
            raise NotDynamicLinearError(
                f"Model {model.name!r} is called with other arguments than its inputs. Expected: as many tensors, of "
                "as many axes, in the same structure, and no other arguments."
            )
        for number, given, wanted in zip(sources, node.input_tensors, model.inputs, strict=True):
            dtype = wanted.dtype
            if keras.backend.is_float_dtype(dtype):
                # Never to a lower precision, since `explain(dtype=...)` may ask for a higher one.
                dtype = keras.backend.result_type(given.dtype, dtype)
            if given.dtype != dtype and not getattr(model, "scales_integers", False):
                cast = ops.cast(keras.KerasTensor(given.shape, given.dtype), dtype)._keras_history.operation
                step = Step(cast, [number], self.numbers(1))
                self.steps.append(step)
                number = step.results[0]
            taken.append(number)
        return taken


def _check_built(model):
    if not model.built:
        raise NotDynamicLinearError(
            f"Model {model.name!r} is not built, so that its layers have no weights yet. Expected: a built model. Give "
            "it an `Input`, or call it on images."
        )
    if not getattr(model, "inputs", None):
        raise NotDynamicLinearError(
            f"Keras has no graph of model {model.name!r}, since a layer does not know the shape of its outputs, or the "
            "first one takes several tensors. Expected: layers with `compute_output_shape`, and a Functional model for "
            "several tensors."
        )


def check_shows_layers(model: Any) -> None:
    """Raise an error for a model that does not compute its graph of layers alone."""
    if shows_layers(model):
        return
    if isinstance(model, keras.Model) and getattr(model, "inputs", None):
        own = " and ".join(f"`{name}`" for name in own_calls(model))
        raise NotDynamicLinearError(
            f"Model {model.name!r} ({type(model).__name__}) has its own {own}, which may compute something else than "
            "its graph of layers. Expected: a Sequential or Functional model without one, a `call` marked by "
            "`keras_coda.linear_maps.follows_graph`, or a model with a method `linear_map(inputs)`."
        )
    raise NotDynamicLinearError(
        f"Model {getattr(model, 'name', model)!r} ({type(model).__name__}) does not show its layers. Expected: a "
        "Sequential or Functional model, built, or one with a method `linear_map(inputs)`."
    )
