"""Patches, as they are cut out and put together again."""

import itertools

import numpy as np
import pytest
from keras import ops
from on_backend import evaluate, gradients
from reference import relative_error

from keras_coda.linear_maps import convolution

CASES = {
    "odd kernel": ((3, 3), (1, 1), "symmetric"),
    "even kernel, as many zeros after as before": ((2, 4), (1, 1), "symmetric"),
    "kernel and strides that differ along the axes": ((2, 3), (3, 2), "valid"),
    "even kernel, more zeros after than before": ((4, 2), (2, 1), "same"),
    "pixels that no position sees": ((1, 1), (2, 3), "valid"),
}
SHAPE = (2, 7, 6, 3)


def positions(kernel_size, strides, padding):
    """For each position the pixel of an image of 7 x 6 that its kernel begins at, which may lie outside."""
    axes = []
    for size, k, stride in zip(SHAPE[1:3], kernel_size, strides, strict=True):
        before = {
            "valid": 0,
            "symmetric": (k - 1) // 2,
            "same": max((-(-size // stride) - 1) * stride + k - size, 0) // 2,
        }
        after = {"valid": 0, "symmetric": before["symmetric"], "same": k}  # "same" ends by the number of positions
        count = -(-size // stride) if padding == "same" else (size + before[padding] + after[padding] - k) // stride + 1
        axes.append([i * stride - before[padding] for i in range(count)])
    return axes


def seen(kernel_size, strides, padding):
    """Every `(position, entry of the kernel, pixel)`, for pixels that are inside of the image."""
    rows, columns = positions(kernel_size, strides, padding)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        for a, b in itertools.product(*map(range, kernel_size)):
            if 0 <= row + a < SHAPE[1] and 0 <= column + b < SHAPE[2]:
                yield (i, j), (a, b), (row + a, column + b)


@pytest.mark.parametrize("case", CASES)
def test_patches_and_their_gradient(rng, case):
    kernel_size, strides, padding = CASES[case]
    images = rng.standard_normal(SHAPE).astype("float32")
    counts = [len(axis) for axis in positions(*CASES[case])]
    want = np.zeros((2, *counts, *kernel_size, 3))
    cotangent = rng.standard_normal(want.shape).astype("float32")
    transposed = np.zeros(SHAPE)
    for position, entry, pixel in seen(*CASES[case]):
        want[:, *position, *entry] = images[:, *pixel]
        transposed[:, *pixel] += cotangent[:, *position, *entry]

    def cut(images):
        return convolution.patches(images, kernel_size, strides, padding)

    flat = cotangent.reshape(2, *counts, -1)
    got, (gradient,) = gradients(cut, [images], flat)
    np.testing.assert_array_equal(got, want.reshape(flat.shape))
    assert relative_error(gradient, transposed) < 1e-6
    got = evaluate(lambda u: convolution.patches_transpose(u, kernel_size, strides, padding, SHAPE[1:3]), flat)
    assert relative_error(got, transposed) < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_a_convolution_is_the_product_of_each_patch_with_the_kernel(rng, case):
    kernel_size, strides, padding = CASES[case]
    images, kernel = (rng.standard_normal(s).astype("float32") for s in (SHAPE, (*kernel_size, 3, 2)))
    flat = kernel.reshape(-1, 2)
    got = evaluate(lambda x, k: convolution.convolve(x, k, strides, padding), images, kernel)
    want = evaluate(lambda x: convolution.patches(x, kernel_size, strides, padding), images) @ flat
    assert relative_error(got, want) < 1e-6
    settings = strides, padding, SHAPE[1:3]
    transposed = evaluate(lambda u, k: convolution.convolve_transpose(u, k, *settings), got, kernel)
    want = evaluate(lambda v: convolution.patches_transpose(v, kernel_size, *settings), got @ flat.T)
    assert relative_error(transposed, want) < 1e-6


def test_patches_of_several_batches(rng):
    images = rng.standard_normal((3, *SHAPE)).astype("float32")
    got = evaluate(lambda x: convolution.patches(x, (3, 3), (2, 2), "symmetric"), images)
    each = [evaluate(lambda x: convolution.patches(x, (3, 3), (2, 2), "symmetric"), x) for x in images]
    np.testing.assert_array_equal(got, np.stack(each))


def test_patches_in_low_precision(rng):
    images = rng.standard_normal(SHAPE).astype("float32")
    got = evaluate(lambda x: convolution.patches(ops.cast(x, "bfloat16"), (3, 3), (1, 1), "valid")[..., :3], images)
    np.testing.assert_array_equal(got, evaluate(lambda x: ops.cast(x, "bfloat16")[:, :-2, :-2], images))
