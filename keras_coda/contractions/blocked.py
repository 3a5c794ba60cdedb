"""Patches in blocks so small that what is as wide as rank x units stays in the processor's cache."""

import keras
from keras import ops

from keras_coda import backend
from keras_coda.contractions.contraction import Contraction
from keras_coda.layers.settings import at_least_float32

# Numbers in the largest intermediate of a block: 8 MiB of float32, see docs/benchmarks.md.
BLOCK = 2**21


class BlockedContraction(Contraction):
    """The products of DAUs by matrix products on blocks of patches, forward and backward.

    With z' = [z; 1] and K_j = [A_j | b_j], all it takes is one sum over d x (r + 1) terms for each unit and patch,
    and its partial derivatives (see `bilinear`). The K^T x of a block, (r + 1) n numbers a patch, are used while they
    are in the processor's cache, and computed again in the backward pass rather than kept.
    """

    def __init__(self, layer, inputs):
        super().__init__(layer, inputs)
        self.kernel = self._kernel(layer.compute_dtype)
        self.patches = layer.patches(inputs)
        b_kernel = ops.cast(layer.b_kernel, layer.compute_dtype)
        z = ops.matmul(self.patches, ops.reshape(b_kernel, (-1, layer.rank)))
        self.z = ops.concatenate([z, ops.ones_like(z[..., :1])], axis=-1) if layer.use_bias else z

    def _kernel(self, dtype):
        """K, `(d, r + 1, n)`."""
        layer = self.layer
        kernel = ops.reshape(ops.cast(layer.a_kernel, dtype), (-1, layer.rank, layer.units))
        if layer.use_bias:
            bias = ops.reshape(ops.cast(layer.bias, dtype), (-1, 1, layer.units))
            kernel = ops.concatenate([kernel, bias], axis=1)
        return kernel

    def products_and_squared_norms(self):
        dtype = at_least_float32(self.layer.variable_dtype)
        d, rank, _ = self.kernel.shape
        if d <= rank and self.layer.compute_dtype == dtype:
            both = aligned(_rows(self.patches), _rows(self.z), self.kernel)
            products, squared_norms = ops.split(both, 2, axis=-1)
        else:
            products = bilinear(_rows(self.patches), _rows(self.z), self.kernel)
            squared_norms = quadratic(_rows(ops.cast(self.z, dtype)), gram(self._kernel(dtype)))
        return self._positions(products), self._positions(squared_norms)

    def products(self, v):
        patches = self.layer.patches(v)
        z = ops.broadcast_to(self.z, (*ops.shape(patches)[:-1], self.z.shape[-1]))
        result = bilinear(_rows(patches), _rows(z), self.kernel)
        return ops.reshape(result, (*ops.shape(patches)[:-1], self.layer.units))

    def transpose(self, outputs):
        z = ops.broadcast_to(self.z, (*ops.shape(outputs)[:-1], self.z.shape[-1]))
        patches = bilinear_transpose(_rows(outputs), _rows(z), self.kernel)
        patches = ops.reshape(patches, (*ops.shape(outputs)[:-1], self.kernel.shape[0]))
        return self.layer.patches_transpose(patches, self.inputs)

    def _positions(self, rows):
        return ops.reshape(rows, (*ops.shape(self.patches)[:-1], self.layer.units))


def gram(kernel):
    """K_j^T K_j of each unit: `(d, r, n)` gives `(r, r, n)`."""
    by_unit = ops.transpose(kernel, (2, 1, 0))
    return ops.transpose(ops.matmul(by_unit, ops.transpose(by_unit, (0, 2, 1))), (1, 2, 0))


@ops.custom_gradient
def bilinear(x, z, kernel):
    """`y_j = sum_{d, r} x_d z_r K_drj`: `x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    d, rank, units = kernel.shape

    def forward(carry, block):
        x, z = block
        return carry, [_sum_over_rank(z, _times(x, kernel))]

    _, (y,) = _in_blocks(forward, [x, z], [units], rank * units)

    def grad(*args, upstream=None):
        def backward(carry, block):
            x, z, dy = block
            outer = _outer(z, dy)
            dz = _sum_over_units(_times(x, kernel), dy)
            return _accumulate(carry, x, outer), [_times_transposed(outer, kernel), dz]

        dy = args[0] if upstream is None else upstream
        (dkernel,), (dx, dz) = _in_blocks(backward, [x, z, dy], [d, rank], rank * units, kernel)
        return dx, dz, dkernel

    return y, grad


@ops.custom_gradient
def bilinear_transpose(y, z, kernel):
    """`x_d = sum_{r, j} z_r K_drj y_j`: `y (M, n)`, `z (M, r)` and `kernel (d, r, n)` give `(M, d)`."""
    d, rank, units = kernel.shape

    def forward(carry, block):
        y, z = block
        return carry, [_times_transposed(_outer(z, y), kernel)]

    _, (x,) = _in_blocks(forward, [y, z], [d], rank * units)

    def grad(*args, upstream=None):
        def backward(carry, block):
            y, z, dx = block
            projections = _times(dx, kernel)
            dy, dz = _sum_over_rank(z, projections), _sum_over_units(projections, y)
            return _accumulate(carry, dx, _outer(z, y)), [dy, dz]

        dx = args[0] if upstream is None else upstream
        (dkernel,), (dy, dz) = _in_blocks(backward, [y, z, dx], [units, rank], rank * units, kernel)
        return dy, dz, dkernel

    return x, grad


@ops.custom_gradient
def quadratic(z, gram):
    """`s_j = z . G_j z`: `z (M, r)` and `gram (r, r, n)`, symmetric matrices, give `(M, n)`."""
    rank, _, units = gram.shape

    def forward(carry, block):
        (z,) = block
        return carry, [_sum_over_rank(z, _times(z, gram))]

    _, (s,) = _in_blocks(forward, [z], [units], rank * units)

    def grad(*args, upstream=None):
        def backward(carry, block):
            z, ds = block
            return _accumulate(carry, z, _outer(z, ds)), [2.0 * _sum_over_units(_times(z, gram), ds)]

        ds = args[0] if upstream is None else upstream
        (dgram,), (dz,) = _in_blocks(backward, [z, ds], [rank], rank * units, gram)
        return dz, dgram

    return s, grad


@ops.custom_gradient
def aligned(x, z, kernel):
    """`u_j . x` and `|u_j|^2` with `u_j = K_j z` built, which is cheaper where d <= r: `(M, 2 n)`.

    Both are in one array, since on PyTorch `keras.ops.custom_gradient` takes functions of one output.
    """
    d, rank, units = kernel.shape
    by_rank = ops.transpose(kernel, (1, 0, 2))

    def forward(carry, block):
        x, z = block
        u = _times(z, by_rank)
        return carry, [_sum_over_rank(x, u), ops.sum(ops.square(u), axis=1)]

    _, results = _in_blocks(forward, [x, z], [units, units], d * units)

    def grad(*args, upstream=None):
        def backward(carry, block):
            x, z, dy, ds = block
            u = _times(z, by_rank)
            du = ops.expand_dims(x, -1) * ops.expand_dims(dy, -2) + 2.0 * u * ops.expand_dims(ds, -2)
            du = ops.reshape(du, (-1, d * units))
            return _accumulate(carry, z, du), [_sum_over_units(u, dy), _times_transposed(du, by_rank)]

        dy, ds = ops.split(args[0] if upstream is None else upstream, 2, axis=-1)
        (dkernel,), (dx, dz) = _in_blocks(backward, [x, z, dy, ds], [d, rank], d * units, by_rank)
        return dx, dz, ops.transpose(dkernel, (1, 0, 2))

    return ops.concatenate(results, axis=-1), grad


def _rows(tensor):
    return ops.reshape(tensor, (-1, tensor.shape[-1]))


def _in_blocks(body, arrays, sizes, width, kernel=None):
    """Call `body` on blocks of rows, one after the other.

    Args:
        body: function of `(carry, [a block of each array])` that returns `(carry, [outputs])`.
        arrays: list of tensors `(M, ...)`.
        sizes: list of the last axis of each output.
        width: numbers a row in the largest intermediate of `body`.
        kernel: `(d, r, n)`, for which a gradient is accumulated in the carry, in float32 at least; or `None`.

    Returns:
        `([gradient], [outputs])`: like `kernel`, and `(M, size)`.
    """
    dtype = keras.backend.standardize_dtype(arrays[0].dtype)
    count = ops.shape(arrays[0])[0]
    blocks = -(-count // max(BLOCK // width, 1))
    rows = -(-count // blocks)
    # What the last block lacks is filled up with rows of zeros, whose part in all sums is zero.
    missing = [(0, blocks * rows - count), (0, 0)]
    arrays = [ops.reshape(ops.pad(array, missing), (blocks, rows, array.shape[-1])) for array in arrays]
    carry = []
    if kernel is not None:
        carry = [ops.zeros((kernel.shape[0], kernel.shape[1] * kernel.shape[2]), at_least_float32(dtype))]
    static = rows if isinstance(rows, int) else None
    carry, outputs = backend.scan(body, carry, arrays, [((static, size), dtype) for size in sizes])
    carry = [ops.reshape(ops.cast(total, dtype), kernel.shape) for total in carry]
    return carry, [ops.reshape(output, (-1, output.shape[-1]))[:count] for output in outputs]


def _times(x, kernel):
    """`x (m, d)` and `kernel (d, r, n)` give `(m, r, n)`."""
    d, rank, units = kernel.shape
    return ops.reshape(ops.matmul(x, ops.reshape(kernel, (d, rank * units))), (-1, rank, units))


def _times_transposed(outer, kernel):
    """`outer (m, r n)` and `kernel (d, r, n)` give `(m, d)`."""
    return ops.matmul(outer, ops.transpose(ops.reshape(kernel, (kernel.shape[0], -1))))


def _sum_over_rank(z, projections):
    """`z (m, r)` and `projections (m, r, n)` give `(m, n)`."""
    return ops.squeeze(ops.matmul(ops.expand_dims(z, -2), projections), -2)


def _sum_over_units(projections, y):
    """`projections (m, r, n)` and `y (m, n)` give `(m, r)`."""
    return ops.sum(projections * ops.expand_dims(y, -2), axis=-1)


def _outer(z, y):
    """`z (m, r)` and `y (m, n)` give `(m, r n)`."""
    outer = ops.expand_dims(z, -1) * ops.expand_dims(y, -2)
    return ops.reshape(outer, (-1, z.shape[-1] * y.shape[-1]))


def _accumulate(carry, x, outer):
    """Add the gradient of the kernel that rows `x (m, d)` and `outer (m, r n)` make."""
    (total,) = carry
    return [total + ops.cast(ops.matmul(ops.transpose(x), outer), total.dtype)]
