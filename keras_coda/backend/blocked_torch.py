"""Matrix products on blocks of patches on PyTorch, on the CPU: `keras_coda.contractions.blocked` with fixed buffers.

PyTorch runs one operation after the other, and to allocate a new array of a block's size in each takes as long as a
third of the products. Here each function allocates one, and writes all blocks into it.
"""

import torch

# Numbers in the largest intermediate of a block: 4 MiB of float32, see docs/benchmarks.md.
BLOCK = 2**20


def products(x, z, kernel):
    """`x (M, d)`, `z (M, r)` and `kernel (d, r, n)` give `(M, n)`."""
    matrix, y = kernel.flatten(1), x.new_empty(len(x), kernel.shape[2])
    for rows, block, by_rank in _blocks(x, *kernel.shape[1:]):
        torch.mm(x[rows], matrix, out=block)
        torch.bmm(z[rows].unsqueeze(1), by_rank, out=y[rows].unsqueeze(1))
    return y


def input_gradient(z, y, kernel):
    """`z (M, r)`, `y (M, n)` and `kernel (d, r, n)` give `(M, d)`."""
    transposed, x = kernel.flatten(1).t(), z.new_empty(len(z), kernel.shape[0])
    for rows, block, by_rank in _blocks(z, *kernel.shape[1:]):
        torch.mul(z[rows].unsqueeze(2), y[rows].unsqueeze(1), out=by_rank)
        torch.mm(block, transposed, out=x[rows])
    return x


def z_gradient(x, y, kernel):
    """`x (M, d)`, `y (M, n)` and `kernel (d, r, n)` give `(M, r)`."""
    matrix, z = kernel.flatten(1), x.new_empty(len(x), kernel.shape[1])
    for rows, block, by_rank in _blocks(x, *kernel.shape[1:]):
        torch.mm(x[rows], matrix, out=block)
        torch.sum(by_rank.mul_(y[rows].unsqueeze(1)), 2, out=z[rows])
    return z


def kernel_gradient(x, z, y):
    """`x (M, d)`, `z (M, r)` and `y (M, n)` give `(d, r, n)`, in float32 at least."""
    shape = x.shape[1], z.shape[1], y.shape[1]
    # In low precision the sums over all patches, and under loss scaling the products, could overflow.
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, z, y = x.to(dtype), z.to(dtype), y.to(dtype)
    total = x.new_zeros(shape[0], shape[1] * shape[2])
    for rows, block, by_rank in _blocks(x, *shape[1:]):
        torch.mul(z[rows].unsqueeze(2), y[rows].unsqueeze(1), out=by_rank)
        total.addmm_(x[rows].t(), block)
    return total.view(shape)


def _blocks(like, rank, units):
    """For each block of the rows of `like`: a slice, and a buffer as `(rows, r n)` and as `(rows, r, n)`."""
    count = len(like)
    rows = -(-count // -(-count // max(BLOCK // (rank * units), 1)))
    buffer = like.new_empty(rows, rank * units)
    for start in range(0, count, rows):
        block = buffer[: count - start]
        yield slice(start, start + rows), block, block.view(-1, rank, units)
