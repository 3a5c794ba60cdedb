"""A model as the graph of its operations, and the product of their matrices along it (paper, eq. 6 and 7).

Explanations and attributions both use this graph. For a chain of layers the product is that of eq. (7),

    W_{0->L}(a_0) = W_L(a_{L-1}) ... W_2(a_1) W_1(a_0),

and for a graph with branches it is the sum of the products along all paths.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_coda.backend.conventions import Tensor
from keras_coda.linear_maps.graph_map import GraphMap
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError
from keras_coda.linear_maps.steps import Step, layer_map
from keras_coda.linear_maps.unrolling import Unrolled, check_shows_layers, shows_layers


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
        unrolled = Unrolled()
        if not shows_layers(model) and hasattr(model, "linear_map"):
            return cls.of_layers([model])
        check_shows_layers(model)
        inputs = unrolled.numbers(len(model.inputs) if getattr(model, "inputs", None) else 1)
        outputs = unrolled.model(model, inputs)
        return cls(unrolled.steps, inputs, outputs)

    @classmethod
    def of_layers(cls, layers: Iterable[keras.Layer]) -> "Graph":
        """The graph of layers that are applied one after the other."""
        unrolled = Unrolled()
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
    return graph._up_to(graph.outputs).linear_map(keras.tree.flatten(inputs), piecewise_linear)


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
