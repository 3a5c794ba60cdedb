"""Convolution and its transpose, and patches of images and their transpose, in channels-last layout."""

import itertools
from collections.abc import Sequence

from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor

PADDINGS = ("valid", "same", "symmetric")


def fold(function, inputs, rank):
    """Apply `function`, which takes one batch axis and `rank` others, to inputs with any number of leading axes."""
    shape = ops.shape(inputs)
    leading, own = shape[: len(shape) - rank], shape[len(shape) - rank :]
    if len(leading) == 1:
        return function(inputs)
    outputs = function(ops.reshape(inputs, (-1, *own)))
    return ops.reshape(outputs, (*leading, *ops.shape(outputs)[1:]))


def output_size(size, kernel, stride, padding):
    """The number of positions of a kernel along an axis of `size` pixels. `None` where the size is unknown."""
    if size is None:
        return None
    if padding == "same":
        # Not -(-size // stride): in ONNX a division of integers rounds towards zero.
        return (size + stride - 1) // stride
    around = 2 * ((kernel - 1) // 2) if padding == "symmetric" else 0
    return (size + around - kernel) // stride + 1


def _zeros(size, kernel, stride):
    """The number of zeros around an axis with padding "same"."""
    zeros = (output_size(size, kernel, stride, "same") - 1) * stride + kernel - size
    # Where kernels leave gaps it may be negative, by less than a stride, and is 0 then. There is no maximum of whatever
    # stands for a size in a graph.
    return zeros if kernel >= stride else zeros * ((zeros + stride) // stride)


def pad_before(size, kernel, stride, padding):
    """The number of zeros before the first pixel of an axis."""
    if padding == "valid":
        return 0
    if padding == "symmetric" or stride == 1:
        return (kernel - 1) // 2
    return _zeros(size, kernel, stride) // 2


def around(size, kernel, stride, padding):
    """The numbers of zeros before the first pixel of an axis, and after the last one."""
    before = pad_before(size, kernel, stride, padding)
    return before, _zeros(size, kernel, stride) - before if padding == "same" else before


def convolve(inputs: Tensor, kernel: Tensor, strides: Sequence[int], padding: str) -> Tensor:
    """A convolution: `inputs (..., H, W, c)` and `kernel (k, k, c, n)` give `(..., h, w, n)`.

    Args:
        inputs: tensor with any number of axes before those of images.
        kernel: tensor.
        strides: two integers.
        padding: "valid", "same" as in Keras, or "symmetric": (k - 1) // 2 zeros on each side, whatever the stride.

    Returns:
        A tensor `(..., h, w, n)`.
    """
    if padding == "symmetric":
        rows, columns = ((k - 1) // 2 for k in kernel.shape[:2])
        if tuple(strides) == (1, 1) and all(k % 2 for k in kernel.shape[:2]):
            padding = "same"
        else:
            inputs = ops.pad(inputs, [(0, 0)] * (len(inputs.shape) - 3) + [(rows, rows), (columns, columns), (0, 0)])
            padding = "valid"
    return fold(
        lambda x: ops.conv(x, kernel, tuple(strides), padding, data_format="channels_last"),
        inputs,
        3,
    )


def convolve_transpose(
    outputs: Tensor, kernel: Tensor, strides: Sequence[int], padding: str, size: Sequence[int]
) -> Tensor:
    """The transpose of `convolve`: `outputs (..., h, w, n)` give `(..., H, W, c)`.

    Args:
        outputs: tensor with any number of axes before those of images.
        kernel, strides, padding: as for `convolve`.
        size: (H, W), the size of the images that `convolve` takes.

    Returns:
        A tensor `(..., H, W, c)`.
    """
    result = fold(
        lambda u: ops.conv_transpose(u, kernel, tuple(strides), "valid", output_padding=0, data_format="channels_last"),
        outputs,
        3,
    )
    return _window(result, kernel.shape[:2], strides, padding, size)


def patches(inputs: Tensor, kernel_size: Sequence[int], strides: Sequence[int], padding: str) -> Tensor:
    """The patches of `inputs (..., H, W, c)` as vectors in the order of a kernel `(k, k, c)`: `(..., h, w, k k c)`."""
    axes = zip(ops.shape(inputs)[-3:-1], kernel_size, strides, strict=True)
    zeros = [around(*axis, padding) for axis in axes]
    inputs = ops.pad(inputs, [(0, 0)] * (len(inputs.shape) - 3) + [*zeros, (0, 0)])
    return (backend.windows or _windows)(inputs, kernel_size, strides)


def pooling_windows(
    inputs: Tensor, pool_size: Sequence[int], strides: Sequence[int], padding: str, outside: float = 0.0
) -> Tensor:
    """The pixels of `inputs (..., H, W, c)` in each window, `(..., h, w, k k, c)`; `outside` where there is none."""

    def cut(images):
        vectors = patches(images, pool_size, strides, padding)
        return ops.reshape(vectors, (*ops.shape(vectors)[:-1], pool_size[0] * pool_size[1], images.shape[-1]))

    return ops.where(cut(ops.ones_like(inputs)) > 0, cut(inputs), outside) if outside else cut(inputs)


def _windows(images, kernel_size, strides):
    """The pixels under a kernel at each of its positions on `images (..., H, W, c)`: `(..., h, w, k k c)`."""
    rows, columns = (
        [slice(first, size - k + first + 1, stride) for first in range(k)]
        for size, k, stride in zip(ops.shape(images)[-3:-1], kernel_size, strides, strict=True)
    )
    return ops.concatenate([images[..., i, j, :] for i, j in itertools.product(rows, columns)], axis=-1)


def patches_transpose(
    vectors: Tensor, kernel_size: Sequence[int], strides: Sequence[int], padding: str, size: Sequence[int]
) -> Tensor:
    """The transpose of `patches`: `vectors (..., h, w, k k c)` give `(..., H, W, c)`, with `size = (H, W)`."""
    leading = [(0, 0)] * (len(vectors.shape) - 3)
    result = 0.0
    shifted = ops.split(vectors, kernel_size[0] * kernel_size[1], axis=-1)
    for (i, j), pixels in zip(itertools.product(*map(range, kernel_size)), shifted, strict=True):
        pixels = _spread(pixels, strides)
        result = result + ops.pad(pixels, [*leading, (i, kernel_size[0] - 1 - i), (j, kernel_size[1] - 1 - j), (0, 0)])
    return _window(result, kernel_size, strides, padding, size)


def _spread(pixels, strides):
    """`pixels (..., h, w, c)` with zeros after each row and column, `(..., h stride, w stride, c)`."""
    if tuple(strides) == (1, 1):
        return pixels
    *leading, rows, columns, channels = ops.shape(pixels)
    pixels = ops.reshape(pixels, (*leading, rows, 1, columns, 1, channels))
    pixels = ops.pad(pixels, [(0, 0)] * (len(leading) + 1) + [(0, strides[0] - 1), (0, 0), (0, strides[1] - 1), (0, 0)])
    return ops.reshape(pixels, (*leading, rows * strides[0], columns * strides[1], channels))


def _window(padded, kernel_size, strides, padding, size):
    """Cut padded images down to the image itself.

    `padded` goes from the first padded pixel to the last one under any position of the kernel. Pixels of the image
    after that, which no position covers, are zero.
    """
    missing, window = [], []
    for axis, reached in enumerate(ops.shape(padded)[-3:-1]):
        before = pad_before(size[axis], kernel_size[axis], strides[axis], padding)
        unseen = before + size[axis] - reached
        # Always fewer than a stride. Where sizes are not known that many are added, and the window leaves the rest out.
        missing.append((0, max(unseen, 0) if isinstance(unseen, int) else strides[axis] - 1))
        window.append(slice(before, before + size[axis]))
    padded = ops.pad(padded, [(0, 0)] * (len(padded.shape) - 3) + [*missing, (0, 0)])
    return padded[..., window[0], window[1], :]


def dilate(kernel, rate):
    """The kernel `(k, k, c, n)` with `rate - 1` zeros between its entries, along both axes of the image."""
    if tuple(rate) == (1, 1):
        return kernel
    rows, columns, channels, filters = kernel.shape
    spread = _spread(ops.reshape(kernel, (rows, columns, channels * filters)), rate)
    spread = spread[: (rows - 1) * rate[0] + 1, : (columns - 1) * rate[1] + 1]
    return ops.reshape(spread, (*spread.shape[:2], channels, filters))
