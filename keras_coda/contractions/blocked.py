"""Matrix products on blocks of patches. A block is so small that it stays in the processor's cache.

The largest intermediate results, K^T x and the outer product of z and y, have rank x units columns. They exist for one
block at a time, and the backward pass recomputes them. Only K^T x of wide patches is kept, where that is faster.
"""

import math

import keras
from keras import ops

from keras_coda.backend import map_in_turn
from keras_coda.backend.conventions import at_least_float32
from keras_coda.contractions.contraction import contract

# Numbers in the largest intermediate of a block: 8 MiB of float32, see docs/benchmarks.md.
BLOCK = 2**21
# K^T x is kept for the backward pass where patches have at least this many numbers, see docs/benchmarks.md.
KEPT_FROM = 512


def products(x, z, kernel):
    """`x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""

    def of_block(block):
        x, z = block
        return contract(z, _projections(x, kernel))

    return _join(map_in_turn(of_block, _cut([x, z], _width(kernel))), x)


def products_and_kept(x, z, kernel):
    """`products`, and a list with K^T x in blocks `(blocks, rows, r, n)`, for `z_gradient_of_kept`."""

    def of_block(block):
        x, z = block
        projections = _projections(x, kernel)
        return contract(z, projections), projections

    y, kept = map_in_turn(of_block, _cut([x, z], _width(kernel)))
    return _join(y, x), [kept]


def input_gradient(z, y, kernel):
    """`z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    transposed = ops.transpose(_matrix(kernel))

    def of_block(block):
        z, y = block
        return ops.matmul(_outer(z, y), transposed)

    return _join(map_in_turn(of_block, _cut([z, y], _width(kernel))), z)


def z_gradient(x, y, kernel):
    """`x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""

    def of_block(block):
        x, y = block
        return _contract_units(_projections(x, kernel), y)

    return _join(map_in_turn(of_block, _cut([x, y], _width(kernel))), x)


def z_gradient_of_kept(kept, y, rank):
    """`z_gradient` from the second result of `products_and_kept`, and `y (M, n)`: `(M, rank)`."""
    blocks = _cut([y], rank * y.shape[-1])
    return _join(map_in_turn(lambda block: _contract_units(*block), [*kept, *blocks]), y)


def kernel_gradient(x, z, y):
    """`x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)`, in float32 at least."""
    shape = x.shape[-1], z.shape[-1], y.shape[-1]
    dtype = at_least_float32(keras.backend.standardize_dtype(x.dtype))
    total = ops.zeros((shape[0], shape[1] * shape[2]), dtype)
    # In float16 the sums over all patches could overflow. With loss scaling so could the products.
    x, z, y = _cut([ops.cast(array, dtype) for array in (x, z, y)], total.shape[1])

    def add_block(i, total):
        return total + ops.matmul(ops.transpose(x[i]), _outer(z[i], y[i]))

    return ops.reshape(ops.fori_loop(0, ops.shape(x)[0], add_block, total), shape)


def quadratic(z, gram):
    """`z (M, r)` and `gram (r, r, n)`, symmetric, give z . G_j z: `(M, n)`, in the dtype of G."""
    z = ops.cast(z, gram.dtype)
    return products(z, z, gram)


def quadratic_z_gradient(z, y, gram):
    """`z (M, r)`, `y (M, n)` and `gram (r, r, n)` give sum over j of y_j G_j z: `(M, r)`."""
    return z_gradient(ops.cast(z, gram.dtype), y, gram)


def quadratic_gradient(z, y):
    """`z (M, r)` and `y (M, n)` give sum over patches of z_a z_b y_j: `(r, r, n)`."""
    z = ops.cast(z, y.dtype)
    return kernel_gradient(z, z, y)


def _width(kernel):
    """r n of a kernel `(d, r, n)`."""
    return math.prod(kernel.shape[1:])


def _cut(arrays, width):
    """Cut arrays `(M, ...)` into blocks `(blocks, rows, ...)`, so that `rows * width` is at most about `BLOCK`."""
    count = ops.shape(arrays[0])[0]
    largest = max(BLOCK // width, 1)
    # Not -(-count // largest): ONNX rounds a division of integers towards zero.
    blocks = (count + largest - 1) // largest
    if isinstance(count, int):
        # Where the number of blocks divides M, nothing is padded, and so nothing is copied.
        blocks = next((b for b in range(blocks, 2 * blocks) if count % b == 0), max(blocks, 1))
    else:
        blocks = ops.maximum(blocks, 1)  # a device of several may get no image of the last batch
    rows = (count + blocks - 1) // blocks
    missing = blocks * rows - count
    if not isinstance(missing, int) or missing:
        # Fill up the last block with rows of zeros. They add zero to all sums.
        arrays = [ops.pad(array, [(0, missing), (0, 0)]) for array in arrays]
    return [ops.reshape(array, (blocks, rows, array.shape[-1])) for array in arrays]


def _join(blocks, like):
    """Join blocks `(blocks, rows, ...)` to the M rows that `like` has."""
    return ops.reshape(blocks, (-1, blocks.shape[-1]))[: ops.shape(like)[0]]


def _matrix(kernel):
    """`(d, r, n)` as `(d, r n)`."""
    return ops.reshape(kernel, (kernel.shape[0], -1))


def _projections(x, kernel):
    """K^T x: `x (m, d)` and `kernel (d, r, n)` give `(m, r, n)`."""
    return ops.reshape(ops.matmul(x, _matrix(kernel)), (-1, *kernel.shape[1:]))


def _contract_units(projections, y):
    """`(m, r, n)` and `y (m, n)` give `(m, r)`."""
    return ops.squeeze(ops.matmul(projections, ops.expand_dims(y, -1)), -1)


def _outer(z, y):
    """`z (m, r)` and `y (m, n)` give `(m, r n)`."""
    return ops.reshape(ops.expand_dims(z, -1) * ops.expand_dims(y, -2), (-1, z.shape[-1] * y.shape[-1]))
