"""The trilinear form of a DAU layer and its derivatives on NVIDIA GPUs, in Triton, for PyTorch.

    sum over d, r, j of  x_d z_r y_j K_drj        (see `keras_coda.contractions.trilinear`)

Intermediate results with r n columns, such as K^T x, are computed in blocks of `ranks x units` columns. A block stays
in registers and shared memory. Every program reads all of K, which therefore stays in the L2 cache.
"""

import math

import keras
import torch
import triton
import triton.language as tl

from keras_coda.backend.kernels.tiles import tiles

# K^T x is never written to memory, so that it cannot be kept, see `keras_coda.contractions.trilinear`.
KEPT_FROM = math.inf
DTYPES = ("float32", "bfloat16", "float16")
# For float32: three products on tensor cores for each one. "ieee", without tensor cores, is slower and not more exact;
# "tf32" is less exact than float32.
PRECISION = "tf32x3"
# Programs for each multiprocessor in `kernel_gradient`. It can split the sum over patches into any number of parts.
PROGRAMS = 4
# The most patches in a part of that sum. Within a part, rounding errors add up.
PART = 2**13


def supports(dtype):
    """Whether the functions take tensors of `dtype`."""
    return keras.backend.standardize_dtype(dtype) in DTYPES


def products(x, z, kernel, dtype=None):
    """`y_j = sum_{d, r} x_d z_r K_drj`: `x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    x, z, kernel = _checked(x, z, kernel)
    d, r, n = kernel.shape
    t = tiles("products", d, r, n, kernel.element_size())
    grid = (triton.cdiv(len(x), t.patches), triton.cdiv(n, t.units))
    return _launch(_products, grid, t, x, z, kernel, x.new_empty(len(x), n, dtype=dtype), len(x), d, r, n)


def input_gradient(z, y, kernel):
    """`x_d = sum_{r, j} z_r y_j K_drj`: `z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    z, y, kernel = _checked(z, y, kernel)
    d, r, n = kernel.shape
    t = tiles("input_gradient", d, r, n, kernel.element_size())
    grid = (triton.cdiv(len(z), t.patches), triton.cdiv(d, t.inputs))
    return _launch(_input_gradient, grid, t, z, y, kernel, z.new_empty(len(z), d), len(z), d, r, n)


def z_gradient(x, y, kernel):
    """`z_r = sum_{d, j} x_d y_j K_drj`: `x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""
    x, y, kernel = _checked(x, y, kernel)
    d, r, n = kernel.shape
    t = tiles("z_gradient", d, r, n, kernel.element_size())
    grid = (triton.cdiv(len(x), t.patches),)
    return _launch(_z_gradient, grid, t, x, y, kernel, x.new_empty(len(x), r), len(x), d, r, n)


def kernel_gradient(x, z, y):
    """`K_drj = sum over patches of x_d z_r y_j`: `x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)` in float32."""
    x, z, y = _checked(x, z, y)
    d, r, n = x.shape[1], z.shape[1], y.shape[1]
    t = tiles("kernel_gradient", d, r, n, x.element_size())
    blocks = (triton.cdiv(d, t.inputs), triton.cdiv(r, t.ranks) * triton.cdiv(n, t.units))
    steps = triton.cdiv(len(x), t.patches)
    parts = max(min(steps, _programs(x.device) // (blocks[0] * blocks[1])), triton.cdiv(len(x), PART), 1)
    part = triton.cdiv(steps, parts) * t.patches
    # Each part of the sum has its own memory. With atomic additions, rounding would differ from run to run.
    sums = x.new_empty((parts, d, r, n), dtype=torch.float32)
    _launch(_kernel_gradient, (*blocks, parts), t, x, z, y, sums, len(x), d, r, n, part=part)
    return sums[0] if parts == 1 else sums.sum(0)


def quadratic(z, gram):
    """z . G_j z: `z (M, r)` and `gram (r, r, n)`, symmetric and in float32, give `(M, n)` in float32."""
    if z.dtype != torch.bfloat16:
        z = z.to(gram.dtype)
        return products(z, z, gram)
    # As the sum of two bfloat16 numbers, a float32 number keeps 16 of its 24 bits. This has the speed of bfloat16.
    high = gram.to(z.dtype)
    low = (gram - high.to(gram.dtype)).to(z.dtype)
    return products(torch.cat([z, z], 1), z, torch.cat([high, low]), dtype=gram.dtype)


def quadratic_z_gradient(z, y, gram):
    """sum over j of y_j G_j z: `z (M, r)`, `y (M, n)` and `gram (r, r, n)` give `(M, r)`."""
    if z.dtype != torch.bfloat16:
        return z_gradient(z.to(gram.dtype), y, gram)
    return z_gradient(z, y.to(z.dtype), gram.to(z.dtype))


def quadratic_gradient(z, y):
    """sum over patches of z_a z_b y_j: `z (M, r)` and `y (M, n)` give `(r, r, n)` in float32."""
    # In float16 y could overflow.
    z, y = (z, y.to(z.dtype)) if z.dtype == torch.bfloat16 else (z.to(y.dtype), y)
    return kernel_gradient(z, z, y)


def _checked(*tensors):
    """The tensors, contiguous."""
    if len({tensor.dtype for tensor in tensors}) > 1 or not supports(tensors[0].dtype):
        raise TypeError(f"Expected one dtype of {DTYPES}. Received: {[tensor.dtype for tensor in tensors]}")
    return [tensor.contiguous() for tensor in tensors]


def _programs(device):
    return PROGRAMS * (torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1)


def _launch(function, grid, t, first, second, third, result, rows, d, r, n, **others):
    """Run `function` of three tensors on `rows` patches, and return the tensor that it writes."""
    # For meta tensors, with which Keras infers shapes, only the shape matters.
    if all(grid) and not result.is_meta:
        with torch.cuda.device_of(first):
            function[grid](
                *(first, second, third, result, rows),
                **others,
                D=d,
                R=r,
                N=n,
                BM=t.patches,
                BD=t.inputs,
                BR=t.ranks,
                BN=t.units,
                PRECISION=PRECISION,
                num_warps=t.warps,
                num_stages=t.stages,
            )
    return result


@triton.jit
def _rows(pointer, row, rows, column, COLUMNS: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr):
    """Pointers to the block at `(row, column)` of a matrix `(rows, COLUMNS)`, and a mask of those inside the matrix."""
    i = tl.arange(0, BM)[:, None]
    j = column + tl.arange(0, BC)[None, :]
    # Only the first row's offset can take 64 bits.
    start = pointer + tl.cast(row, tl.int64) * COLUMNS
    return start + (i * COLUMNS + j), (row + i < rows) & (j < COLUMNS)


@triton.jit
def _load(pointer, row, rows, column, COLUMNS: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr):
    """The values of that block, with zeros outside of the matrix."""
    pointers, inside = _rows(pointer, row, rows, column, COLUMNS, BM, BC)
    return tl.load(pointers, mask=inside, other=0.0)


@triton.jit
def _kernel_columns(r, j, R: tl.constexpr, N: tl.constexpr, BR: tl.constexpr, BN: tl.constexpr):
    """Offsets of the `BR x BN` columns from rank r and unit j on in a row of `kernel`, and a mask of those inside."""
    column = tl.arange(0, BR * BN)
    r += column // BN
    j += column % BN
    return r * N + j, (r < R) & (j < N)


@triton.jit
def _load_kernel(
    pointer,
    d,
    r,
    j,
    D: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
):
    """The `(BD, BR BN)` block of `kernel` at (d, r, j)."""
    d += tl.arange(0, BD)[:, None]
    columns, inside = _kernel_columns(r, j, R, N, BR, BN)
    return tl.load(pointer + (d * (R * N) + columns[None, :]), mask=(d < D) & inside[None, :], other=0.0)


@triton.jit
def _products(
    x_pointer,
    z_pointer,
    kernel_pointer,
    y_pointer,
    rows,
    D: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute K^T x for one block of ranks after the other, and multiply each with z in float32."""
    row = tl.program_id(0) * BM
    j = tl.program_id(1) * BN
    STEPS: tl.constexpr = (D + BD - 1) // BD
    x = _load(x_pointer, row, rows, 0, D, BM, BD)
    z = tl.zeros((BM, BR), z_pointer.dtype.element_ty)
    kx = tl.zeros((BM, BR * BN), tl.float32)
    y = tl.zeros((BM, BN), tl.float32)
    # One loop instead of two, so that loads for the next block of ranks start early.
    for i in range((R + BR - 1) // BR * STEPS):
        r, d = i // STEPS * BR, i % STEPS * BD
        if i % STEPS == 0:
            z = _load(z_pointer, row, rows, r, R, BM, BR)
        if STEPS > 1:
            x = _load(x_pointer, row, rows, d, D, BM, BD)
        block = _load_kernel(kernel_pointer, d, r, j, D, R, N, BD, BR, BN)
        kx = tl.dot(x, block, kx, input_precision=PRECISION)
        if i % STEPS == STEPS - 1:
            y += tl.sum(tl.reshape(kx, (BM, BR, BN)) * z[:, :, None], 1)
            kx = tl.zeros((BM, BR * BN), tl.float32)
    pointers, inside = _rows(y_pointer, row, rows, j, N, BM, BN)
    tl.store(pointers, y.to(y_pointer.dtype.element_ty), mask=inside)


@triton.jit
def _z_gradient(
    x_pointer,
    y_pointer,
    kernel_pointer,
    z_pointer,
    rows,
    D: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """As `_products`, but multiply each block with y, sum over the units, and write the result."""
    row = tl.program_id(0) * BM
    STEPS: tl.constexpr = (D + BD - 1) // BD
    UNITS: tl.constexpr = (N + BN - 1) // BN
    x = _load(x_pointer, row, rows, 0, D, BM, BD)
    y = _load(y_pointer, row, rows, 0, N, BM, BN)
    kx = tl.zeros((BM, BR * BN), tl.float32)
    z = tl.zeros((BM, BR), tl.float32)
    for i in range((R + BR - 1) // BR * UNITS * STEPS):
        d, block_of_units = i % STEPS * BD, i // STEPS % UNITS
        r, j = i // (UNITS * STEPS) * BR, block_of_units * BN
        if UNITS > 1:  # noqa: SIM102 - in the compilation, and the other as the kernel runs
            if i % STEPS == 0:
                y = _load(y_pointer, row, rows, j, N, BM, BN)
        if STEPS > 1:
            x = _load(x_pointer, row, rows, d, D, BM, BD)
        block = _load_kernel(kernel_pointer, d, r, j, D, R, N, BD, BR, BN)
        kx = tl.dot(x, block, kx, input_precision=PRECISION)
        if i % STEPS == STEPS - 1:
            z += tl.sum(tl.reshape(kx, (BM, BR, BN)) * y[:, None, :], 2)
            kx = tl.zeros((BM, BR * BN), tl.float32)
            if block_of_units == UNITS - 1:
                pointers, inside = _rows(z_pointer, row, rows, r, R, BM, BR)
                tl.store(pointers, z.to(z_pointer.dtype.element_ty), mask=inside)
                z = tl.zeros((BM, BR), tl.float32)


@triton.jit
def _input_gradient(
    z_pointer,
    y_pointer,
    kernel_pointer,
    x_pointer,
    rows,
    D: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute z_r y_j, rounded, for one block of ranks after the other, and sum its products with K in float32."""
    row = tl.program_id(0) * BM
    d = tl.program_id(1) * BD
    x = tl.zeros((BM, BD), tl.float32)
    for j in range(0, N, BN):
        y = _load(y_pointer, row, rows, j, N, BM, BN)
        z = _load(z_pointer, row, rows, 0, R, BM, BR)
        for r in range(0, R, BR):
            block = _load_kernel(kernel_pointer, d, r, j, D, R, N, BD, BR, BN)
            zy = tl.reshape(z[:, :, None] * y[:, None, :], (BM, BR * BN))
            # Load the next z while this one is in use. Past the last rank, everything is masked.
            z = _load(z_pointer, row, rows, r + BR, R, BM, BR)
            x = tl.dot(zy, tl.trans(block), x, input_precision=PRECISION)
            # The result is always x. This waits for the product. Before Triton 3.9, the next zy could otherwise
            # overwrite this one while it is read: https://github.com/triton-lang/triton/issues/9433
            x = tl.where(r < R, x, 0.0)
    pointers, inside = _rows(x_pointer, row, rows, d, D, BM, BD)
    tl.store(pointers, x.to(x_pointer.dtype.element_ty), mask=inside)


@triton.jit
def _kernel_gradient(
    x_pointer,
    z_pointer,
    y_pointer,
    sums_pointer,
    rows,
    part,
    D: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    BR: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One block of K's gradient from `part` patches. It is transposed, so that z y can stay in registers."""
    UNITS: tl.constexpr = (N + BN - 1) // BN
    d = tl.program_id(0) * BD
    r = tl.program_id(1) // UNITS * BR
    j = tl.program_id(1) % UNITS * BN
    start = tl.program_id(2) * part
    end = tl.minimum(start + part, rows)
    block = tl.zeros((BR * BN, BD), tl.float32)
    z = _load(z_pointer, start, rows, r, R, BM, BR)
    for row in range(start, end, BM):
        y = _load(y_pointer, row, rows, j, N, BM, BN)
        x = _load(x_pointer, row, rows, d, D, BM, BD)
        zy = tl.reshape(tl.trans(z)[:, None, :] * tl.trans(y)[None, :, :], (BR * BN, BM))
        z = _load(z_pointer, row + BM, rows, r, R, BM, BR)
        block = tl.dot(zy, x, block, input_precision=PRECISION)
        block = tl.where(row < end, block, 0.0)  # As in `_input_gradient`.
    columns, inside = _kernel_columns(r, j, R, N, BR, BN)
    d += tl.arange(0, BD)[None, :]
    sums = sums_pointer + tl.cast(tl.program_id(2), tl.int64) * (D * R * N)
    tl.store(sums + (d * (R * N) + columns[:, None]), block, mask=(d < D) & inside[:, None])
