"""Tile sizes of the fused GPU kernels, for Triton and Pallas alike."""

from typing import NamedTuple


class Tiles(NamedTuple):
    """The tile of one program: how many patches, inputs (d), ranks (r) and units (n). Powers of two."""

    patches: int
    inputs: int
    ranks: int
    units: int
    warps: int = 4
    stages: int = 3


def tiles(name, d, r, n, itemsize):
    """The `Tiles` of function `name` for `kernel (d, r, n)`, with `itemsize` bytes a number.

    The fastest on an H200 for the layers of S and XL, see docs/benchmarks.md.
    """
    units = _block(n, 16, 64, padding=1.15)
    if itemsize == 4:
        most = 16 if name in ("products", "z_gradient") else 32
        return Tiles(64, _block(d, 16, most), _block(r, 1, 64 // units), units)
    # A small d in one block: then the x of a program is loaded once.
    small = 1 << (max(d, 16) - 1).bit_length() if d <= 64 else None
    if name == "input_gradient":
        return Tiles(128, small or 64, _block(r, 1, 64 // units), units)
    wide = not small and n >= (64 if name == "products" else 32)
    columns, warps = (256, 8) if wide else (128, 4)
    ranks = _block(r, 1, columns // units)
    if name == "kernel_gradient":
        return Tiles(64, small or 128, ranks, units, warps)
    return Tiles(128, small or 64, ranks, units, warps, stages=4 if wide else 3)


def _block(size, least, most, padding=1.25):
    """The largest power of two from `least` to `most` with little padding of `size`."""
    blocks = [2**i for i in range(least.bit_length() - 1, most.bit_length())]
    padded = [-(-size // block) * block for block in blocks]
    return max(block for block, total in zip(blocks, padded, strict=True) if total <= padding * min(padded))
