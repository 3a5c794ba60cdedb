"""The maps of the DAU layers against matrices built from eq. (1) and (5) in float64."""

import itertools

import numpy as np
import pytest
from keras import ops
from matrices import assert_linear_map
from reference import Convolution, dau, relative_error

from keras_coda import DAUConv2D, DAUDense

OTHERS = list(itertools.product(["channels_last", "channels_first"], ["sq", "l2"], [True, False]))
CONVOLUTIONS = [
    (kernel, stride, padding, *OTHERS[number % 8])
    for number, (kernel, stride, padding) in enumerate(
        itertools.product([1, 3, 7], [1, 2, 3], ["valid", "same", "symmetric"])
    )
]
CONVOLUTIONS += [
    ((3, 2), (1, 2), "same", "channels_first", "sq", True),
    (2, 1, "symmetric", "channels_last", "l2", True),
    (4, (3, 2), "symmetric", "channels_last", "sq", True),
    (2, 1, "same", "channels_last", "sq", False),
]


@pytest.mark.parametrize(("kernel_size", "strides", "padding", "data_format", "rescaling", "use_bias"), CONVOLUTIONS)
def test_conv2d(rng, drawn, kernel_size, strides, padding, data_format, rescaling, use_bias):
    images = rng.standard_normal((2, 7, 8, 2)).astype("float32")
    first = data_format == "channels_first"
    x = np.moveaxis(images, -1, 1) if first else images
    layer = DAUConv2D(
        2,
        kernel_size,
        2,
        strides=strides,
        padding=padding,
        data_format=data_format,
        rescaling=rescaling,
        use_bias=use_bias,
        a_initializer=drawn,
        b_initializer=drawn,
        bias_initializer=drawn,
    )
    layer.build(x.shape)
    kernels = layer.a_kernel, layer.b_kernel, layer.bias
    kernels = [None if kernel is None else ops.convert_to_numpy(kernel) for kernel in kernels]
    outputs, matrix = Convolution(*kernels, strides, padding, rescaling)(images)
    if first:  # the reference has channels last, in its outputs and in both axes of its matrix
        matrix = matrix.reshape(*outputs.shape, *images.shape[1:])
        matrix = np.moveaxis(np.moveaxis(matrix, 3, 1), -1, -3).reshape(2, outputs[0].size, -1)
        outputs = np.moveaxis(outputs, -1, 1)
    got_matrix, got, offset = assert_linear_map(layer.linear_map, x, outputs.shape[1:])
    assert relative_error(got, outputs) < 1e-5
    assert relative_error(got_matrix, matrix) < 1e-5
    assert (offset == 0).all()


@pytest.mark.parametrize(("rescaling", "use_bias"), [("sq", True), ("l2", False)])
def test_dense(rng, drawn, rescaling, use_bias):
    x = rng.standard_normal((2, 9)).astype("float32")
    layer = DAUDense(
        4,
        3,
        rescaling=rescaling,
        use_bias=use_bias,
        a_initializer=drawn,
        b_initializer=drawn,
        bias_initializer=drawn,
    )
    layer.build(x.shape)
    kernels = (layer.a_kernel, layer.b_kernel, layer.bias)
    outputs, weights = dau(x.astype("float64"), *(None if k is None else np.array(k) for k in kernels), rescaling)
    matrix, got, _ = assert_linear_map(layer.linear_map, x, (4,))
    assert relative_error(got, outputs) < 1e-5
    assert relative_error(matrix, np.swapaxes(weights, 1, 2)) < 1e-5


def test_dense_on_inputs_of_more_axes(rng, drawn):
    layer = DAUDense(3, 2, a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn)
    x = rng.standard_normal((2, 4, 5)).astype("float32")
    layer.build(x.shape)
    matrix, got, _ = assert_linear_map(layer.linear_map, x, (4, 3))
    kernels = (np.array(kernel) for kernel in (layer.a_kernel, layer.b_kernel, layer.bias))
    outputs, weights = dau(x.reshape(8, 5).astype("float64"), *kernels)
    assert relative_error(got, outputs.reshape(2, 4, 3)) < 1e-5
    # A block for each of the 4 vectors of an input.
    blocks = np.einsum("ntid,ts->ntisd", np.swapaxes(weights, 1, 2).reshape(2, 4, 3, 5), np.eye(4))
    assert relative_error(matrix, blocks.reshape(2, 12, 20)) < 1e-5
