"""The trilinear form of a DAU layer and its derivatives on NVIDIA GPUs, in Pallas, for JAX.

The kernels are those of `keras_coda.backend.kernels.fused_torch`, and are compiled by Triton as well. JAX 0.11 warns
that Mosaic GPU will replace Triton. Mosaic GPU copies blocks by hardware that needs rows of a multiple of 16 bytes.
"""

import functools
import math

import jax
import jax.numpy as jnp
import keras
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from keras_coda.backend.kernels.tiles import tiles

# K^T x is never written to memory, so that it cannot be kept, see `keras_coda.contractions.trilinear`.
KEPT_FROM = math.inf
DTYPES = ("float32", "bfloat16", "float16")
# Programs in `kernel_gradient`, several for each multiprocessor. It can split the sum over patches into any number.
PROGRAMS = 512
# The most patches in a part of that sum. Within a part, rounding errors add up.
PART = 2**13


def supports(dtype):
    """Whether the functions take arrays of `dtype`."""
    return keras.backend.standardize_dtype(dtype) in DTYPES


def products(x, z, kernel, dtype=None):
    """`y_j = sum_{d, r} x_d z_r K_drj`: `x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    _check(x, z, kernel)
    rows, (d, r, n) = len(x), kernel.shape
    t = tiles("products", d, r, n, kernel.dtype.itemsize)
    grid = (pl.cdiv(rows, t.patches), pl.cdiv(n, t.units))
    function = functools.partial(_products, units=n, t=t)
    return _call(function, grid, t, (rows, n), dtype or x.dtype, x, z, kernel.reshape(d, r * n))


def input_gradient(z, y, kernel):
    """`x_d = sum_{r, j} z_r y_j K_drj`: `z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    _check(z, y, kernel)
    rows, (d, r, n) = len(z), kernel.shape
    t = tiles("input_gradient", d, r, n, kernel.dtype.itemsize)
    grid = (pl.cdiv(rows, t.patches), pl.cdiv(d, t.inputs))
    return _call(functools.partial(_input_gradient, t=t), grid, t, (rows, d), z.dtype, z, y, kernel.reshape(d, r * n))


def z_gradient(x, y, kernel):
    """`z_r = sum_{d, j} x_d y_j K_drj`: `x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""
    _check(x, y, kernel)
    rows, (d, r, n) = len(x), kernel.shape
    t = tiles("z_gradient", d, r, n, kernel.dtype.itemsize)
    function = functools.partial(_z_gradient, t=t)
    return _call(function, (pl.cdiv(rows, t.patches),), t, (rows, r), x.dtype, x, y, kernel.reshape(d, r * n))


def kernel_gradient(x, z, y):
    """`K_drj = sum over patches of x_d z_r y_j`: `x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)` in float32."""
    _check(x, z, y)
    d, r, n = x.shape[1], z.shape[1], y.shape[1]
    t = tiles("kernel_gradient", d, r, n, x.dtype.itemsize)
    blocks = (pl.cdiv(d, t.inputs), pl.cdiv(r, t.ranks), pl.cdiv(n, t.units))
    steps = pl.cdiv(len(x), t.patches)
    parts = max(min(steps, PROGRAMS // (blocks[0] * blocks[1] * blocks[2])), pl.cdiv(len(x), PART), 1)
    # Each part of the sum has its own rows. With atomic additions, rounding would differ from run to run.
    function = functools.partial(_kernel_gradient, steps=pl.cdiv(steps, parts), t=t)
    grid = (blocks[0], blocks[1] * blocks[2], parts)
    sums = _call(function, grid, t, (parts * d, r * n), jnp.float32, x, z, y)
    return sums.reshape(parts, d, r, n).sum(0)


def quadratic(z, gram):
    """z . G_j z: `z (M, r)` and `gram (r, r, n)`, symmetric and in float32, give `(M, n)` in float32."""
    if z.dtype != jnp.bfloat16:
        z = z.astype(gram.dtype)
        return products(z, z, gram)
    # As the sum of two bfloat16 numbers, a float32 number keeps 16 of its 24 bits. This has the speed of bfloat16.
    high = gram.astype(z.dtype)
    low = (gram - high.astype(gram.dtype)).astype(z.dtype)
    return products(jnp.concatenate([z, z], 1), z, jnp.concatenate([high, low]), dtype=gram.dtype)


def quadratic_z_gradient(z, y, gram):
    """sum over j of y_j G_j z: `z (M, r)`, `y (M, n)` and `gram (r, r, n)` give `(M, r)`."""
    if z.dtype != jnp.bfloat16:
        return z_gradient(z.astype(gram.dtype), y, gram)
    return z_gradient(z, y.astype(z.dtype), gram.astype(z.dtype))


def quadratic_gradient(z, y):
    """sum over patches of z_a z_b y_j: `z (M, r)` and `y (M, n)` give `(r, r, n)` in float32."""
    # In float16 y could overflow.
    z, y = (z, y.astype(z.dtype)) if z.dtype == jnp.bfloat16 else (z.astype(y.dtype), y)
    return kernel_gradient(z, z, y)


def _check(*arrays):
    if len({array.dtype for array in arrays}) > 1 or not supports(arrays[0].dtype):
        raise TypeError(f"Expected one dtype of {DTYPES}. Received: {[array.dtype.name for array in arrays]}")


def _call(function, grid, t, shape, dtype, *arrays):
    """The array of `shape` and `dtype` that the kernel `function` writes."""
    if not all(array.size for array in arrays):
        return jnp.zeros(shape, dtype)
    return pl.pallas_call(
        function,
        jax.ShapeDtypeStruct(shape, dtype),
        grid=grid,
        compiler_params=triton.CompilerParams(num_warps=t.warps, num_stages=t.stages),
        interpret=_interpreted(),
    )(*arrays)


def _rows(ref, row, column, shape):
    """The block of `shape` at `(row, column)` of a matrix, and a mask of what is inside the matrix."""
    i = row + lax.broadcasted_iota(jnp.int32, shape, 0)
    j = column + lax.broadcasted_iota(jnp.int32, shape, 1)
    return ref.at[i, j], (i < ref.shape[0]) & (j < ref.shape[1])


def _load(ref, row, column, shape):
    """The values of that block, with zeros outside of the matrix."""
    block, inside = _rows(ref, row, column, shape)
    return triton.load(block, mask=inside, other=0.0)


def _kernel_block(ref, row, end, r, j, ranks, units, t):
    """The block `(inputs, ranks units)` of K as a matrix, from `row`, rank r and unit j on, and its mask."""
    shape = (t.inputs, t.ranks * t.units)
    i = row + lax.broadcasted_iota(jnp.int32, shape, 0)
    column = lax.broadcasted_iota(jnp.int32, shape, 1)
    r = r + lax.div(column, t.units)
    j = j + lax.rem(column, t.units)
    return ref.at[i, r * units + j], (i < end) & (r < ranks) & (j < units)


def _load_kernel(ref, d, r, j, units, t):
    block, inside = _kernel_block(ref, d, ref.shape[0], r, j, ref.shape[1] // units, units, t)
    return triton.load(block, mask=inside, other=0.0)


def _interpreted():
    """Whether there is no GPU: for tests."""
    return jax.default_backend() == "cpu"


def _dot(a, b):
    if _interpreted():  # On CPUs, XLA has no products of bfloat16 numbers with a float32 result.
        return jnp.dot(a.astype(jnp.float32), b.astype(jnp.float32), precision=lax.Precision.HIGHEST)
    precision = lax.DotAlgorithmPreset.TF32_TF32_F32_X3 if a.dtype == jnp.float32 else None
    return jnp.dot(a, b, precision=precision, preferred_element_type=jnp.float32)


def _products(x_ref, z_ref, kernel_ref, y_ref, *, units, t):
    """Compute K^T x for one block of ranks after the other, and multiply each with z in float32."""
    row, j = pl.program_id(0) * t.patches, pl.program_id(1) * t.units
    steps = pl.cdiv(x_ref.shape[1], t.inputs)
    kx = jnp.zeros((t.patches, t.ranks * t.units), jnp.float32)
    y = jnp.zeros((t.patches, t.units), jnp.float32)

    def step(i, sums):
        r, d = lax.div(i, steps) * t.ranks, lax.rem(i, steps) * t.inputs
        kx, y = sums
        kx += _dot(_load(x_ref, row, d, (t.patches, t.inputs)), _load_kernel(kernel_ref, d, r, j, units, t))

        def multiply(kx, y):
            z = _load(z_ref, row, r, (t.patches, t.ranks)).astype(jnp.float32)
            return jnp.zeros_like(kx), y + (kx.reshape(t.patches, t.ranks, t.units) * z[:, :, None]).sum(1)

        return lax.cond(lax.rem(i, steps) == steps - 1, multiply, _same, kx, y)

    # One loop instead of two, so that loads for the next block of ranks start early.
    _, y = lax.fori_loop(0, pl.cdiv(z_ref.shape[1], t.ranks) * steps, step, (kx, y))
    block, inside = _rows(y_ref, row, j, y.shape)
    triton.store(block, y.astype(y_ref.dtype), mask=inside)


def _z_gradient(x_ref, y_ref, kernel_ref, z_ref, *, t):
    """As `_products`, but multiply each block with y, sum over the units, and write the result."""
    row, units = pl.program_id(0) * t.patches, y_ref.shape[1]
    steps, blocks = pl.cdiv(x_ref.shape[1], t.inputs), pl.cdiv(units, t.units)
    kx = jnp.zeros((t.patches, t.ranks * t.units), jnp.float32)
    z = jnp.zeros((t.patches, t.ranks), jnp.float32)

    def step(i, sums):
        d, block = lax.rem(i, steps) * t.inputs, lax.div(i, steps)
        r, j = lax.div(block, blocks) * t.ranks, lax.rem(block, blocks) * t.units
        kx, z = sums
        kx += _dot(_load(x_ref, row, d, (t.patches, t.inputs)), _load_kernel(kernel_ref, d, r, j, units, t))

        def multiply(kx, z):
            y = _load(y_ref, row, j, (t.patches, t.units)).astype(jnp.float32)
            return jnp.zeros_like(kx), z + (kx.reshape(t.patches, t.ranks, t.units) * y[:, None, :]).sum(2)

        def write(z):
            block, inside = _rows(z_ref, row, r, z.shape)
            triton.store(block, z.astype(z_ref.dtype), mask=inside)
            return jnp.zeros_like(z)

        kx, z = lax.cond(lax.rem(i, steps) == steps - 1, multiply, _same, kx, z)
        return kx, lax.cond(lax.rem(i, steps * blocks) == steps * blocks - 1, write, _same, z)

    lax.fori_loop(0, pl.cdiv(z_ref.shape[1], t.ranks) * blocks * steps, step, (kx, z))


def _same(*arrays):
    return arrays if len(arrays) > 1 else arrays[0]


def _input_gradient(z_ref, y_ref, kernel_ref, x_ref, *, t):
    """Compute z_r y_j, rounded, for one block of ranks after the other, and sum its products with K in float32."""
    row, d = pl.program_id(0) * t.patches, pl.program_id(1) * t.inputs
    units, blocks = y_ref.shape[1], pl.cdiv(z_ref.shape[1], t.ranks)

    def block_of_units(j, x):
        y = _load(y_ref, row, j * t.units, (t.patches, t.units))

        def block_of_ranks(i, x):
            z = _load(z_ref, row, i * t.ranks, (t.patches, t.ranks))
            zy = (z[:, :, None] * y[:, None, :]).reshape(t.patches, -1)
            x += _dot(zy, _load_kernel(kernel_ref, d, i * t.ranks, j * t.units, units, t).T)
            # The result is always x. This waits for the product, see `keras_coda.backend.kernels.fused_torch`.
            return jnp.where(i < blocks, x, 0.0)

        return lax.fori_loop(0, blocks, block_of_ranks, x)

    x = jnp.zeros((t.patches, t.inputs), jnp.float32)
    x = lax.fori_loop(0, pl.cdiv(units, t.units), block_of_units, x)
    block, inside = _rows(x_ref, row, d, x.shape)
    triton.store(block, x.astype(x_ref.dtype), mask=inside)


def _kernel_gradient(x_ref, z_ref, y_ref, sums_ref, *, steps, t):
    """One block of K's gradient from `steps` blocks of patches. It is transposed, so that z y can stay in registers."""
    (_, d_end), ranks, units = x_ref.shape, z_ref.shape[1], y_ref.shape[1]
    blocks = pl.cdiv(units, t.units)
    d, part = pl.program_id(0) * t.inputs, pl.program_id(2)
    r, j = lax.div(pl.program_id(1), blocks) * t.ranks, lax.rem(pl.program_id(1), blocks) * t.units

    def block_of_patches(i, total):
        row = (part * steps + i) * t.patches
        z = _load(z_ref, row, r, (t.patches, t.ranks)).T
        y = _load(y_ref, row, j, (t.patches, t.units)).T
        x = _load(x_ref, row, d, (t.patches, t.inputs))
        total += _dot((z[:, None, :] * y[None, :, :]).reshape(-1, t.patches), x)
        return jnp.where(i < steps, total, 0.0)  # As in `_input_gradient`.

    total = lax.fori_loop(0, steps, block_of_patches, jnp.zeros((t.ranks * t.units, t.inputs), jnp.float32))
    start = part * d_end
    block, inside = _kernel_block(sums_ref, start + d, start + d_end, r, j, ranks, units, t)
    triton.store(block, total.T, mask=inside)
