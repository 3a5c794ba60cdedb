"""Matrix products on blocks of patches on PyTorch, on the CPU: `keras_coda.contractions.blocked` with fixed buffers.

PyTorch runs one operation after the other, and to allocate a new array of a block's size in each takes as long as a
third of the products. Here each function allocates one, and writes all blocks into it.
"""

import torch

# Numbers in the largest intermediate of a block: 4 MiB of float32, see docs/benchmarks.md.
BLOCK = 2**20
# Numbers in a patch from which on K^T x is kept for the backward pass, see docs/benchmarks.md.
KEPT_FROM = 256
# Rows at once of the upper triangle of z z^T.
TRIANGLE_ROWS = 16


def products(x, z, kernel):
    """`x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    return _products(x, z, kernel, None)


def products_and_kept(x, z, kernel):
    """`products`, and K^T x for `z_gradient_of_kept`, as a list of blocks."""
    kept: list[torch.Tensor] = []
    return _products(x, z, kernel, kept), kept


def _products(x, z, kernel, kept):
    matrix, y = kernel.flatten(1), x.new_empty(len(x), kernel.shape[2])
    for rows, block in _blocks(x, matrix.shape[1], reused=kept is None):
        torch.mm(x[rows], matrix, out=block)
        by_rank = block.view(-1, *kernel.shape[1:])
        torch.bmm(z[rows].unsqueeze(1), by_rank, out=y[rows].unsqueeze(1))
        if kept is not None:
            kept.append(by_rank)
    return y


def input_gradient(z, y, kernel):
    """`z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    transposed, x = kernel.flatten(1).t(), z.new_empty(len(z), kernel.shape[0])
    for rows, block in _blocks(z, len(transposed)):
        _outer(z[rows], y[rows], out=block)
        torch.mm(block, transposed, out=x[rows])
    return x


def z_gradient(x, y, kernel):
    """`x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""
    matrix, z = kernel.flatten(1), x.new_empty(len(x), kernel.shape[1])
    for rows, block in _blocks(x, matrix.shape[1]):
        torch.mm(x[rows], matrix, out=block)
        by_rank = block.view(-1, *kernel.shape[1:])
        torch.sum(by_rank.mul_(y[rows].unsqueeze(1)), 2, out=z[rows])
    return z


def z_gradient_of_kept(kept, y):
    """`z_gradient` from what `products_and_kept` kept, and `y (M, n)`."""
    z, start = y.new_empty(len(y), kept[0].shape[1]), 0
    buffer = torch.empty_like(kept[0])
    for by_rank in kept:
        rows = slice(start, start + len(by_rank))
        terms = torch.mul(by_rank, y[rows].unsqueeze(1), out=buffer[: len(by_rank)])
        torch.sum(terms, 2, out=z[rows])
        start = rows.stop
    return z


def kernel_gradient(x, z, y):
    """`x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)`, in float32 at least."""
    # In low precision the sums over all patches, and under loss scaling the products, could overflow.
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, z, y = x.to(dtype), z.to(dtype), y.to(dtype)
    total = x.new_zeros(x.shape[1], z.shape[1] * y.shape[1])
    for rows, block in _blocks(x, total.shape[1]):
        _outer(z[rows], y[rows], out=block)
        total.addmm_(x[rows].t(), block)
    return total.view(-1, z.shape[1], y.shape[1])


def quadratic(z, gram):
    """`z (M, r)` and `gram (r, r, n)`, symmetric, give z . G_j z: `(M, n)`. Half the products of the general sum."""
    y = z.new_empty(len(z), gram.shape[2])
    # What is left out below the diagonal counts twice above it.
    pieces = [(a, gram[a, a.start :].clone()) for a in _triangle(z)]
    for a, piece in pieces:
        piece[:, a.stop - a.start :] *= 2.0
    for rows, block in _blocks(z, TRIANGLE_ROWS * z.shape[1]):
        y[rows] = 0.0
        for a, piece in pieces:
            y[rows].addmm_(_outer(z[rows, a], z[rows, a.start :], out=block), piece.flatten(0, 1))
    return y


def quadratic_gradient(z, y):
    """`z (M, r)` and `y (M, n)` give sum over patches of z_a z_b y_j: `(r, r, n)`."""
    rank, units = z.shape[1], y.shape[1]
    gram = z.new_zeros(rank, rank, units)
    pieces = [(a, z.new_zeros((a.stop - a.start) * (rank - a.start), units)) for a in _triangle(z)]
    for rows, block in _blocks(z, TRIANGLE_ROWS * rank):
        for a, piece in pieces:
            piece.addmm_(_outer(z[rows, a], z[rows, a.start :], out=block).t(), y[rows])
    for a, piece in pieces:
        piece = piece.view(a.stop - a.start, -1, units)
        gram[a, a.start :] = piece
        gram[a.start :, a] = piece.transpose(0, 1)
    return gram


def _triangle(z):
    """Rows that make up the upper triangle of z z^T, as slices."""
    rank = z.shape[1]
    return [slice(start, min(start + TRIANGLE_ROWS, rank)) for start in range(0, rank, TRIANGLE_ROWS)]


def _outer(z, y, out):
    """`z (m, r)` and `y (m, n)` give `(m, r n)`, in the first numbers of `out`, which is contiguous."""
    out = out.view(-1)[: len(z) * z.shape[1] * y.shape[1]]
    torch.mul(z.unsqueeze(2), y.unsqueeze(1), out=out.view(len(z), z.shape[1], y.shape[1]))
    return out.view(len(z), -1)


def _blocks(like, columns, reused=True):
    """For each block of the rows of `like`: a slice, and a buffer `(rows, columns)`, the same again where `reused`."""
    count = len(like)
    rows = -(-count // -(-count // max(BLOCK // columns, 1)))
    buffer = like.new_empty(rows, columns)
    for start in range(0, count, rows):
        yield slice(start, start + rows), buffer[: count - start]
        if not reused:
            buffer = like.new_empty(rows, columns)
