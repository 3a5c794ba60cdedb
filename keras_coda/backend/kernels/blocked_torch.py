"""Matrix products on blocks of patches on PyTorch, on the CPU: `keras_coda.contractions.blocked` with fixed buffers.

PyTorch allocates a new array for the result of each operation. For blocks, that takes a third of the products' time.
Here each function allocates one buffer, and writes all blocks into it.
"""

import math

import torch

# Numbers in the largest intermediate of a block: 4 MiB of float32, see docs/benchmarks.md.
BLOCK = 2**20
# Patches in a block. With fewer, kernels larger than the cache would be read too often.
PATCHES = 2048
# K^T x is kept for the backward pass where patches have at least this many numbers, see docs/benchmarks.md.
KEPT_FROM = 256
# Rows at once of the upper triangle of z z^T.
TRIANGLE_ROWS = 16


def products(x, z, kernel):
    """`x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    return _products(x, z, kernel, None)


def products_and_kept(x, z, kernel):
    """`products`, and a list of what `z_gradient_of_kept` needs: the blocks of K^T x."""
    kept: list[torch.Tensor] = []
    return _products(x, z, kernel, kept), kept


def _products(x, z, kernel, kept):
    rank, units = kernel.shape[1:]
    matrix, y = kernel.flatten(1), x.new_zeros(len(x), units)
    for rows, ranks, columns, block in _blocks(x, rank, units, reused=kept is None):
        torch.mm(x[rows], matrix[:, columns], out=block.flatten(1))
        y[rows].unsqueeze(1).baddbmm_(z[rows, ranks].unsqueeze(1), block)
        if kept is not None:
            kept.append(block)
    return y


def input_gradient(z, y, kernel):
    """`z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    matrix, x = kernel.flatten(1), z.new_zeros(len(z), len(kernel))
    for rows, ranks, columns, block in _blocks(z, *kernel.shape[1:]):
        _outer(z[rows, ranks], y[rows], out=block)
        x[rows].addmm_(block.flatten(1), matrix[:, columns].t())
    return x


def z_gradient(x, y, kernel):
    """`x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""
    matrix, z = kernel.flatten(1), x.new_empty(len(x), kernel.shape[1])
    for rows, ranks, columns, block in _blocks(x, *kernel.shape[1:]):
        torch.mm(x[rows], matrix[:, columns], out=block.flatten(1))
        torch.sum(block.mul_(y[rows].unsqueeze(1)), 2, out=z[rows, ranks])
    return z


def z_gradient_of_kept(kept, y, rank):
    """`z_gradient` from the second result of `products_and_kept`, and `y (M, n)`: `(M, rank)`."""
    z = y.new_empty(len(y), rank)
    for projections, (rows, ranks, _, block) in zip(kept, _blocks(y, rank, y.shape[1]), strict=True):
        torch.mul(projections, y[rows].unsqueeze(1), out=block)
        torch.sum(block, 2, out=z[rows, ranks])
    return z


def kernel_gradient(x, z, y):
    """`x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)`, in float32 at least."""
    # In float16 the sums over all patches could overflow. With loss scaling so could the products.
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, z, y = x.to(dtype), z.to(dtype), y.to(dtype)
    shape = x.shape[1], z.shape[1], y.shape[1]
    parts = _parts(math.prod(shape))
    totals = x.new_zeros(parts, *shape)
    matrices = totals.flatten(2)
    # With several parts, the whole rank at once: PyTorch adds to a slice of columns part by part, with all threads.
    for rows, ranks, columns, block in _blocks(x, *shape[1:], whole_rank=parts > 1):
        _outer(z[rows, ranks], y[rows], out=block)
        _add_products(matrices[..., columns], _cut(x[rows], parts), _cut(block.flatten(1), parts))
    return totals.sum(0) if parts > 1 else totals[0]


def quadratic(z, gram):
    """`z (M, r)` and symmetric `gram (r, r, n)` give z . G_j z: `(M, n)`. By symmetry, half of the products suffice."""
    z = z.to(gram.dtype)
    rank, units = gram.shape[1:]
    y = z.new_zeros(len(z), units)
    # Entries above the diagonal count twice, since those below are left out.
    pieces = [gram[a, a.start :].clone() for a in _triangle(rank)]
    for piece in pieces:
        piece[:, len(piece) :] *= 2.0
    for rows, i, block in _triangle_blocks(z, torch.get_num_threads()):
        matrix = pieces[i].flatten(0, 1)
        _cut(y[rows], len(block)).baddbmm_(block, matrix.expand(len(block), -1, -1))
    return y


def quadratic_z_gradient(z, y, gram):
    """`z (M, r)`, `y (M, n)` and `gram (r, r, n)` give sum over j of y_j G_j z: `(M, r)`."""
    return z_gradient(z.to(gram.dtype), y, gram)


def quadratic_gradient(z, y):
    """`z (M, r)` and `y (M, n)` give sum over patches of z_a z_b y_j: `(r, r, n)`."""
    z = z.to(y.dtype)
    rank, units = z.shape[1], y.shape[1]
    gram = z.new_zeros(rank, rank, units)
    parts = _parts(gram.numel() // 2)
    pieces = [z.new_zeros(parts, a.stop - a.start, rank - a.start, units) for a in _triangle(rank)]
    for rows, i, block in _triangle_blocks(z, parts):
        _add_products(pieces[i].flatten(1, 2), block, _cut(y[rows], parts))
    for a, piece in zip(_triangle(rank), pieces, strict=True):
        total = piece.sum(0)
        gram[a, a.start :] = total
        gram[a.start :, a] = total.transpose(0, 1)
    return gram


def _triangle(rank):
    """The blocks of rows that make up the upper triangle of z z^T, as slices."""
    return [slice(start, min(start + TRIANGLE_ROWS, rank)) for start in range(0, rank, TRIANGLE_ROWS)]


def _triangle_blocks(z, parts):
    """The upper triangle of z z^T of each row, in pieces, for one block of rows after the other.

    Yields the block's rows as a slice, the number of the piece, and the piece: `(parts, rows / parts, -1)`.
    """
    rank = z.shape[1]
    rows = max(BLOCK // (TRIANGLE_ROWS * rank * parts), 1) * parts
    buffer = z.new_empty(min(rows, len(z)) * TRIANGLE_ROWS * rank)
    for start in range(0, len(z), rows):
        block = _cut(z[start : start + rows], parts)
        # Each part has its own share of the buffer, since pieces differ in size. One thread writes to a share.
        shares = buffer[: block.numel() * TRIANGLE_ROWS].view(len(block), -1)
        for i, a in enumerate(_triangle(rank)):
            shape = *block.shape[:2], a.stop - a.start, rank - a.start
            piece = shares[:, : math.prod(shape[1:])].view(shape)
            _outer(block[..., a], block[..., a.start :], out=piece)
            yield slice(start, start + rows), i, piece.flatten(2)


def _outer(z, y, out):
    """`z (..., r)` and `y (..., n)` give `(..., r, n)`."""
    torch.mul(z.unsqueeze(-1), y.unsqueeze(-2), out=out)


def _parts(size):
    """The number of partial sums over rows: one for each thread, or a single one if a sum has many numbers (`size`).

    In a single product, MKL's threads divide the columns, and read rows that other threads wrote. On processors without
    a shared cache, later writes to these rows then wait, which takes up to four times as long.
    """
    threads = torch.get_num_threads()
    return threads if threads * size <= 2 * BLOCK else 1


def _cut(rows, parts):
    """Cut rows `(m, ...)` into equal parts, at most `parts` of them: `(parts, m / parts, ...)`."""
    return rows.unflatten(0, (math.gcd(len(rows), parts), -1))


def _add_products(totals, x, y):
    """Add `x^T y` of each part: `totals (parts or more, d, m)`, `x (parts, rows, d)` and `y (parts, rows, m)`."""
    totals[: len(x)].baddbmm_(x.mT, y)


def _blocks(like, rank, units, reused=True, whole_rank=False):
    """Blocks of the rows of `like` and of the rank.

    Yields the block's rows and ranks as slices, the columns of these ranks in a matrix `(d, r n)`, and a buffer
    `(rows, ranks, n)`. If `reused`, all blocks share the buffer.
    """
    count = len(like)
    # In low precision, the whole rank at once, since partial sums over the rank would be rounded.
    whole_rank = whole_rank or like.dtype not in (torch.float32, torch.float64)
    threads = torch.get_num_threads()
    patches = max(BLOCK // (rank * units * threads), 1) * threads if whole_rank else PATCHES
    patches = max(min(patches, count), 1)
    times = 1 if whole_rank else min(max(round(patches * rank * units / BLOCK), 1), rank)
    buffer = like.new_empty(patches * -(-rank // times) * units)
    for start in range(0, count, patches):
        rows = slice(start, min(start + patches, count))
        for i in range(times):
            ranks = slice(rank * i // times, rank * (i + 1) // times)
            shape = rows.stop - rows.start, ranks.stop - ranks.start, units
            columns = slice(ranks.start * units, ranks.stop * units)
            block = buffer[: math.prod(shape)].view(shape) if reused else like.new_empty(shape)
            yield rows, ranks, columns, block
