"""A model as the graph of its operations, and the product of their matrices along it (paper, eq. 6 and 7).

Explanations and attributions both use this graph. For a chain of layers the product is that of eq. (7),

    W_{0->L}(a_0) = W_L(a_{L-1}) ... W_2(a_1) W_1(a_0),

and for a graph with branches it is the sum of the products along all paths.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor, at_least_float32
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError
from keras_coda.linear_maps.steps import Step, layer_map


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


class Graph:
    """The operations of a model in the order in which they are applied, with nested models unrolled.

    Tensors have numbers. A graph holds no data: each run computes the tensors anew, with the weights of that time.

    Args:
        steps: list of `Step`.
        inputs, outputs: lists of the numbers of the model's input and output tensors.

    Example:

    >>> graph = Graph.of(model)
    >>> [step.name for step in graph.steps]
    """

    def __init__(self, steps: list[Step], inputs: list[int], outputs: list[int]):
        self.steps = steps
        self.inputs = inputs
        self.outputs = outputs

    @classmethod
    def of(cls, model: keras.Model) -> "Graph":
        """The graph of a built Sequential or Functional model, or of any model with a method `linear_map`.

        Raises:
            NotDynamicLinearError: the model is not built, or has no graph of layers.
        """
        unrolled = _Unrolled()
        if not shows_layers(model) and hasattr(model, "linear_map"):
            return cls.of_layers([model])
        _check_shows_layers(model)
        inputs = unrolled.numbers(len(model.inputs) if getattr(model, "inputs", None) else 1)
        outputs = unrolled.model(model, inputs)
        return cls(unrolled.steps, inputs, outputs)

    @classmethod
    def of_layers(cls, layers: Iterable[keras.Layer]) -> "Graph":
        """The graph of layers that are applied one after the other."""
        unrolled = _Unrolled()
        inputs = outputs = unrolled.numbers(1)
        for layer in layers:
            outputs = unrolled.apply(layer, outputs)
        return cls(unrolled.steps, inputs, outputs)

    @property
    def operations(self) -> list[keras.Operation]:
        """The layers and operations, each once, in the order of their first use."""
        return list({id(step.operation): step.operation for step in self.steps}.values())

    def run(self, inputs: list[Tensor], replace: Callable | None = None) -> list[Tensor]:
        """The outputs for a list of inputs, in inference.

        Args:
            inputs: list of tensors.
            replace: function of an operation that returns the function to call in its place, or the operation itself.

        Returns:
            A list of tensors.
        """
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            outputs = step([values[number] for number in step.sources], replace)
            values.update(zip(step.results, keras.tree.flatten(outputs), strict=True))
        return [values[number] for number in self.outputs]

    def linear_map(self, inputs: list[Tensor], piecewise_linear: bool = False) -> tuple[Tensor, "GraphMap"]:
        """The output, and the product of the operations' matrices (paper, eq. 7).

        Args:
            inputs: list of tensors a_0, one for each of the graph's inputs.
            piecewise_linear: whether ReLU and maximum pooling are taken for the linear maps that they are here.

        Returns:
            `(output, GraphMap)`.

        Raises:
            NotDynamicLinearError: an operation is not dynamic linear; it is named.
        """
        values, maps = dict(zip(self.inputs, inputs, strict=True)), []
        for step in self.steps:
            outputs, W = step.linear_map([values[number] for number in step.sources], piecewise_linear)
            values.update(zip(step.results, keras.tree.flatten(outputs), strict=True))
            maps.append((step, W))
        return values[self.outputs[0]], GraphMap(self, maps, values)

    def between(self, is_source: Callable[[Step], bool], outputs: list[int]) -> tuple["Graph", "Graph"]:
        """Split the graph at the sources of an explanation.

        Args:
            is_source: function that says of a step whether its results are sources. On a path without such a step, the
                graph's input is the source.
            outputs: numbers of the tensors that are explained.

        Returns:
            `(before, after)`: the graph from the inputs to the sources, and the one from the sources to `outputs`.
        """
        made_by = {number: step for step in self.steps for number in step.results}
        needed, sources, stack = set(), [], list(outputs)
        while stack:
            number = stack.pop()
            step = made_by.get(number)
            if step is None or is_source(step):
                sources += [number] if number not in sources else []
            elif step not in needed:
                needed.add(step)
                stack += step.sources
        # In the order of the model's inputs, then of the steps.
        order = [*self.inputs, *(number for step in self.steps for number in step.results)]
        sources.sort(key=order.index)
        after = Graph([step for step in self.steps if step in needed], sources, list(outputs))
        return self._up_to(sources), after

    def is_same(self, other: "Graph") -> bool:
        """Whether another graph has the same operations in the same places."""
        ours, theirs = (
            [(id(s.operation), s.sources, s.results) for s in graph.steps] + [(None, graph.inputs, graph.outputs)]
            for graph in (self, other)
        )
        return ours == theirs

    def _up_to(self, outputs):
        needed = set(outputs)
        steps = []
        for step in reversed(self.steps):
            if needed.intersection(step.results):
                needed.update(step.sources)
                steps.append(step)
        return Graph(steps[::-1], self.inputs, list(outputs))

    def with_operations(self, replace: Callable) -> "Graph":
        """The same graph with `replace(operation)` in place of each operation, the same one for all its uses."""
        replaced = {id(operation): replace(operation) for operation in self.operations}
        steps = [Step(replaced[id(s.operation)], s.sources, s.results, s.arguments) for s in self.steps]
        return Graph(steps, self.inputs, self.outputs)


class GraphMap(LinearMap):
    """W(x) of a graph, kept as the maps of its operations (paper, eq. 7).

    For a graph with several inputs, vectors are lists with a tensor for each: `W @ [v, w]`, and `W.T @ u` is a list.
    """

    def __init__(self, graph, maps, values):
        self._graph = graph
        self._maps = maps
        self._shapes = {number: ops.shape(value) for number, value in values.items()}
        self._dtypes = {number: keras.backend.standardize_dtype(value.dtype) for number, value in values.items()}
        self._several = len(graph.inputs) > 1

    def pull_back(self, u: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Apply the transpose of W, and collect the biases of all layers.

        Args:
            u: tensor `(..., N, *output_shape)`.

        Returns:
            `(adjoints, bias)`: a list of W^T u, one for each input; and the part of u . outputs that comes from biases,
            `(..., N)`, or `None` where there are none. So

                u . outputs = sum(W^T u . inputs) + bias
        """
        adjoints, bias = {self._graph.outputs[0]: u}, None
        for step, W in reversed(self._maps):
            rows = [adjoints.pop(number, None) for number in step.results]
            if all(row is None for row in rows):
                continue
            if W.offset is not None:
                share = self._share(rows[0], W.offset, step.results[0])
                bias = share if bias is None else ops.add(bias, share)
            if self._dtypes[step.results[0]] == "float16":
                pulled = self._pulled_in_float16(step, W, rows)
            else:
                pulled = W.T @ (rows if step.several_results else rows[0])
            for number, adjoint in zip(step.sources, pulled, strict=True):
                adjoints[number] = ops.add(adjoints[number], adjoint) if number in adjoints else adjoint
        return [adjoints[number] for number in self._graph.inputs], bias

    def _pulled_in_float16(self, step, W, rows):
        """`W.T @ rows` in float32. Each row is scaled to 1 in between, as a high temperature makes rows too small."""

        def axes(number):
            return tuple(range(1 - len(self._shapes[number]), 0))

        def times(sizes, vectors, number):
            return ops.cast(vectors, "float32") * ops.expand_dims(sizes, axes(number))

        given = [(row, number) for row, number in zip(rows, step.results, strict=True) if row is not None]
        sizes = 1e-30  # of rows of zeros
        for row, number in given:
            sizes = ops.maximum(sizes, ops.max(ops.abs(ops.cast(row, "float32")), axis=axes(number)))
        # The factor cancels, so that its gradient is zero.
        sizes = ops.stop_gradient(sizes)
        rows = [None if row is None else times(1 / sizes, row, n) for row, n in zip(rows, step.results, strict=True)]
        pulled = W.T @ (rows if step.several_results else rows[0])
        return [times(sizes, vectors, number) for vectors, number in zip(pulled, step.sources, strict=True)]

    def _share(self, u, offset, number):
        """u . offset for each row of u, in at least float32."""
        axes = tuple(range(1 - len(self._shapes[number]), 0))
        dtype = at_least_float32(keras.backend.standardize_dtype(u.dtype))
        product = ops.cast(u, dtype) * ops.cast(ops.convert_to_tensor(offset), dtype)
        return ops.sum(product, axis=axes) if axes else product

    def _transpose(self, u):
        adjoints, _ = self.pull_back(u)
        return adjoints if self._several else adjoints[0]

    def _apply(self, vectors):
        values = dict(zip(self._graph.inputs, vectors if self._several else [vectors], strict=True))
        for step, W in self._maps:
            outputs = W @ [values[number] for number in step.sources]
            values.update(zip(step.results, keras.tree.flatten(outputs), strict=True))
        return values[self._graph.outputs[0]]

    @property
    def offset(self):  # type: ignore[override]
        """The part of the output that comes from the biases of all layers, or `None` where there are none."""
        values: dict = {}
        for step, W in self._maps:
            vectors = [values.get(number) for number in step.sources]
            outputs = None
            if any(vector is not None for vector in vectors):
                shapes = [self._shapes[number] for number in step.sources]
                vectors = [ops.zeros(s) if v is None else v for v, s in zip(vectors, shapes, strict=True)]
                outputs = W @ vectors
            if W.offset is not None:
                offset = ops.convert_to_tensor(W.offset)
                outputs = (
                    ops.broadcast_to(offset, self._shapes[step.results[0]])
                    if outputs is None
                    else (outputs + ops.cast(offset, outputs.dtype))
                )
            if outputs is not None:
                values.update(zip(step.results, keras.tree.flatten(outputs), strict=True))
        return values.get(self._graph.outputs[0])


class _Unrolled:
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
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                sources = self.apply(layer, sources)
            return sources
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
        others = {name for name, value in kwargs.items() if value is not None and (name != "training" or value)}
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
            if given.dtype != wanted.dtype and not getattr(model, "scales_integers", False):
                # Never to a lower precision, since `explain(dtype=...)` may ask for a higher one.
                dtype = keras.backend.result_type(given.dtype, wanted.dtype)
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


def _check_shows_layers(model):
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
        f"Model {model.name!r} ({type(model).__name__}) does not show its layers. Expected: a Sequential or "
        "Functional model, built, or one with a method `linear_map(inputs)`."
    )


def linear_map(layer: keras.Layer, inputs: Any, piecewise_linear: bool = False) -> tuple[Tensor, LinearMap]:
    """The outputs of a layer or model for `inputs`, and the matrix W(inputs) that made them (paper, eq. 5 to 7).

    Args:
        layer: a built Keras layer, in inference mode, or a built Sequential or Functional model with one output.
        inputs: tensor of the shape that it takes, with a batch axis; or a list of them.
        piecewise_linear: whether ReLU and maximum pooling are taken for the linear maps that they are at `inputs`.

    Returns:
        `(outputs, W)`, with `outputs = W @ inputs`, plus `W.offset` where biases are added. Where `inputs` is a list,
        so is `W.T @ u`.

    Raises:
        NotDynamicLinearError: a layer is not dynamic linear, or not known to be.

    Example:

    >>> model = keras.Sequential([keras.Input((64,)), keras_coda.DAUDense(16, rank=4), keras_coda.DAUDense(10, rank=4)])
    >>> outputs, W = keras_coda.linear_maps.linear_map(model, np.random.rand(2, 64))
    >>> (W.T @ keras.ops.one_hot([3, 5], 10)).shape    # a row of W(x) for each of the two inputs
    (2, 64)
    """
    if not isinstance(layer, keras.Model) or hasattr(layer, "linear_map"):
        return layer_map(layer, inputs, piecewise_linear)
    graph = Graph.of(layer)
    if len(graph.outputs) != 1:
        raise NotDynamicLinearError(
            f"Model {layer.name!r} has {len(graph.outputs)} outputs. Expected: one. For a model with several heads, "
            "make a `keras.Model` of the one to explain."
        )
    return graph.linear_map(keras.tree.flatten(inputs), piecewise_linear)


def linear_map_through(layers: Iterable[keras.Layer], inputs: Tensor) -> tuple[Tensor, LinearMap]:
    """The outputs of a chain of layers, and the product of their matrices W_L(a_{L-1}) ... W_1(a_0) (paper, eq. 7).

    Args:
        layers: list of built layers, in the order in which they are applied.
        inputs: tensor a_0, with a batch axis.

    Returns:
        `(outputs, W)`, with `outputs = W @ inputs`, plus `W.offset` where layers add biases.

    Raises:
        NotDynamicLinearError: a layer is not dynamic linear.

    Example:

    >>> layers = [keras_coda.DAUConv2D(4, 3, rank=2), keras_coda.layers.SumPooling2D()]
    >>> _ = keras.Sequential(layers)(images)    # builds them
    >>> outputs, W = keras_coda.linear_maps.linear_map_through(layers, images)
    """
    return Graph.of_layers(layers).linear_map([inputs])
