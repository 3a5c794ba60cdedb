"""The four sizes of CoDA-Nets (paper, 4.1).

S and L are the published configurations. The paper does not give the layers of M and XL. Ours follow S and L, and have
the paper's 28 and 62 million parameters. Temperatures are those of the paper's experiments.
"""


def _layers(kernel_sizes, filters, ranks, strides, temperature):
    return {
        "kernel_sizes": kernel_sizes,
        "filters": filters,
        "ranks": ranks,
        "strides": strides,
        "temperature": temperature,
    }


_SMALL_KERNELS = [3] * 8 + [1]
_SMALL_FILTERS = [16] * 2 + [32] * 3 + [64] * 3
_SMALL_STRIDES = [1, 1, 2, 1, 1, 2, 1, 1, 1]
_LARGE_FILTERS = [16] + [32] * 2 + [64] * 5
_LARGE_RANKS = [64] * 3 + [128] * 3 + [256] * 3

# `filters` are those of the first eight layers; the ninth has one for every class.
SIZES = {
    "s": _layers(_SMALL_KERNELS, _SMALL_FILTERS, [32] * 2 + [64] * 7, _SMALL_STRIDES, 1000.0),
    "m": _layers(_SMALL_KERNELS, _SMALL_FILTERS, [64] * 2 + [128] * 3 + [256] * 4, _SMALL_STRIDES, 64.0),
    "l": _layers([7] + [3] * 8, _LARGE_FILTERS, _LARGE_RANKS, [3, 1, 1, 2, 1, 1, 2, 1, 1], 1e5),
    "xl": _layers([3] * 9, _LARGE_FILTERS, _LARGE_RANKS, [1, 1, 1, 2, 1, 1, 2, 1, 1], 6400.0),
}

CLASSES = {"s": 10, "m": 10, "l": 100, "xl": 200}
