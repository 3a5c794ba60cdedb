"""How much of the trilinear form a program of a fused GPU kernel takes at once, in Triton and in Pallas alike."""

from typing import NamedTuple


class Tiles(NamedTuple):
    """How many patches, inputs (d), ranks (r) and units (n) a program takes at once: powers of two."""

    patches: int
    inputs: int
    ranks: int
    units: int
    warps: int = 4
    stages: int = 3


def tiles(name, d, r, n, itemsize):
    """The `Tiles` of function `name` for `kernel (d, r, n)`, with `itemsize` bytes a number."""
    units = _block(n, 16, 64)
    if itemsize == 4:
        most = 16 if name in ("products", "z_gradient") else 32
        return Tiles(64, _block(d, 16, most), _block(r, 1, 64 // units), units)
    # A small d in one block: then the x of a program is loaded once.
    inputs = 1 << (max(d, 16) - 1).bit_length() if d <= 64 else _block(d, 16, 64)
    patches = 64 if name == "kernel_gradient" else 128
    return Tiles(patches, inputs, _block(r, 1, 128 // units), units)


def _block(size, least, most):
    """The largest power of two from `least` to `most` in which `size` is not padded much more than it has to be."""
    blocks = [2**i for i in range(least.bit_length() - 1, most.bit_length())]
    padded = [-(-size // block) * block for block in blocks]
    return max(block for block, total in zip(blocks, padded, strict=True) if 4 * total <= 5 * min(padded))
