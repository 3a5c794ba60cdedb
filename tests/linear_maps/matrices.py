"""Linear maps as the matrices that they are, built column by column and row by row."""

import math

import numpy as np
from keras import ops
from on_backend import evaluate


def _vectors(rng, shape, n):
    """All unit vectors of arrays of a shape, then some random vectors, for n inputs: `(2, K, n, *shape)`."""
    size = math.prod(shape)
    unit = np.broadcast_to(np.eye(size)[:, None], (size, n, size))
    random = rng.standard_normal((4 + size % 2, n, size))
    return np.concatenate([unit, random]).reshape(2, -1, n, *shape).astype("float32")


def _flat(vectors, shape):
    return vectors.reshape(-1, vectors.shape[2], math.prod(shape)).astype("float64")


def assert_linear_map(linear_map, x, output_shape):
    """That `W @ v` and `W.T @ u` are one matrix and its transpose, and make the outputs.

    Args:
        linear_map: function of `x` that gives `(outputs, W)`.
        x: `(N, *input_shape)`.
        output_shape: of the outputs, without the batch axis.

    Returns:
        `(matrix, outputs, offset)`: the matrices `(N, outputs, inputs)` in float64, the outputs `(N, *output_shape)`
        and the offset that is no part of the matrix, broadcast to the outputs.
    """
    rng = np.random.default_rng(1)
    n, input_shape = len(x), x.shape[1:]
    v, u = _vectors(rng, input_shape, n), _vectors(rng, output_shape, n)

    def function(x, v, u):
        result, W = linear_map(x)
        offset = 0.0 if W.offset is None else W.offset
        offset = ops.broadcast_to(ops.convert_to_tensor(offset, dtype=result.dtype), ops.shape(result))
        return result, offset, W @ v, W.T @ u

    result, offset, Wv, WTu = evaluate(function, x, v, u)
    assert result.shape == (n, *output_shape)
    assert Wv.shape == (*v.shape[:3], *output_shape)
    assert WTu.shape == (*u.shape[:3], *input_shape)
    v, WTu, u, Wv = _flat(v, input_shape), _flat(WTu, input_shape), _flat(u, output_shape), _flat(Wv, output_shape)

    matrix = np.moveaxis(Wv[: math.prod(input_shape)], 0, -1)
    by_rows = np.moveaxis(WTu[: math.prod(output_shape)], 0, 1)
    np.testing.assert_allclose(by_rows, matrix, atol=1e-6 * np.abs(matrix).max())
    want = (matrix @ x.reshape(n, -1, 1)).reshape(result.shape) + offset
    np.testing.assert_allclose(result, want, atol=1e-5 * np.abs(want).max())
    # <u, W v> = <W^T u, v>, for each input and for random vectors.
    forward, backward = np.sum(u[-4:] * Wv[-4:], axis=-1), np.sum(WTu[-4:] * v[-4:], axis=-1)
    np.testing.assert_allclose(forward, backward, atol=1e-5 * np.abs(forward).max())
    want = np.einsum("nij,knj->kni", matrix, v[-4:])
    np.testing.assert_allclose(Wv[-4:], want, atol=1e-5 * np.abs(want).max())
    return matrix, result, offset
