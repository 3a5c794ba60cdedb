"""The product of the matrices along a graph (paper, eq. 7), applied and transposed."""

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor, at_least_float32
from keras_coda.linear_maps.linear_map import LinearMap


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
