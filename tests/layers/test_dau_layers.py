"""The DAU layers' outputs and gradients against eq. (1) with every weight vector built, in float64."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from on_backend import gradients
from reference import RESCALINGS, Convolution, dau, dau_gradients, relative_error

from keras_coda import DAUConv2D, DAUDense

TOLERANCE = 1e-5
CHANNELS, RANK, FILTERS = 6, 3, 4


@keras.saving.register_keras_serializable(package="tests")
def inverse(norm):
    """A rescaling of a user's own."""
    return 1.0 / (1.0 + norm)


def rescaling_argument(name):
    return inverse if name == "inverse" else name


def weights_from(initializer):
    return {"a_initializer": initializer, "b_initializer": initializer, "bias_initializer": initializer}


def assert_as_reference(layer, x, cotangent, want_outputs, want_gradients):
    """Outputs, and gradients in the input and every parameter, are those wanted."""

    def call(x, *weights):
        return layer.stateless_call(weights, [], x)[0]

    weights = [ops.convert_to_numpy(variable) for variable in layer.trainable_variables]
    outputs, got = gradients(call, [x, *weights], cotangent)
    errors = {"outputs": relative_error(outputs, want_outputs)}
    names = ["input", *(variable.name for variable in layer.trainable_variables)]
    for name, g, w in zip(names, got, want_gradients, strict=True):
        errors[name] = relative_error(g, w)
    assert max(errors.values()) < TOLERANCE, errors


# Every pair of kernel, stride and padding, with the other choices in turn. That outputs are right for all 27 triples
# is shown in tests/linear_maps/test_dau_maps.py.
OTHERS = list(itertools.product(["channels_last", "channels_first"], ["sq", "l2"], [True, False]))
PADDINGS = ["valid", "same", "symmetric"]
CONVOLUTIONS = [
    (kernel, stride, PADDINGS[(i + j) % 3], *OTHERS[(3 * i + j) % 8])
    for (i, kernel), (j, stride) in itertools.product(enumerate([1, 3, 7]), enumerate([1, 2, 3]))
]
CONVOLUTIONS += [
    ((3, 2), (1, 2), "same", "channels_first", "sq", True),
    (2, 1, "symmetric", "channels_last", "l2", True),
    (4, (3, 2), "symmetric", "channels_last", "sq", True),
    (3, 2, "symmetric", "channels_last", "inverse", True),
]


@pytest.mark.parametrize(("kernel_size", "strides", "padding", "data_format", "rescaling", "use_bias"), CONVOLUTIONS)
def test_conv2d(rng, drawn, kernel_size, strides, padding, data_format, rescaling, use_bias):
    images = rng.standard_normal((2, 8, 11, CHANNELS)).astype("float32")
    first = data_format == "channels_first"
    layer = DAUConv2D(
        FILTERS,
        kernel_size,
        RANK,
        strides=strides,
        padding=padding,
        data_format=data_format,
        rescaling=rescaling_argument(rescaling),
        use_bias=use_bias,
        **weights_from(drawn),
    )
    x = np.moveaxis(images, -1, 1) if first else images
    layer.build(x.shape)

    kernels = layer.a_kernel, layer.b_kernel, layer.bias
    kernels = [None if kernel is None else ops.convert_to_numpy(kernel) for kernel in kernels]
    reference = Convolution(*kernels, strides, padding, rescaling)
    want, _ = reference(images)
    cotangent = rng.standard_normal(want.shape)
    want_gradients = reference.gradients(images, cotangent)
    if first:
        want, cotangent, want_gradients[0] = (np.moveaxis(v, -1, 1) for v in (want, cotangent, want_gradients[0]))
    assert layer.compute_output_shape(x.shape) == want.shape
    assert_as_reference(layer, x, cotangent, want, want_gradients)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("rescaling", ["sq", "l2", "inverse"])
def test_dense(rng, drawn, rescaling, use_bias):
    x = rng.standard_normal((2, 3, 7)).astype("float32")  # with an axis between the batch's and the last
    layer = DAUDense(FILTERS, RANK, rescaling=rescaling_argument(rescaling), use_bias=use_bias, **weights_from(drawn))
    layer.build(x.shape)

    a, b = (ops.convert_to_numpy(kernel).astype("float64") for kernel in (layer.a_kernel, layer.b_kernel))
    bias = ops.convert_to_numpy(layer.bias).astype("float64") if use_bias else None
    flat = x.reshape(6, 7).astype("float64")
    want, _ = dau(flat, a, b, bias, rescaling)
    cotangent = rng.standard_normal(want.shape)
    dx, *want_gradients = dau_gradients(flat, a, b, bias, rescaling, cotangent)
    want_gradients = [dx.reshape(x.shape), *(g for g in want_gradients if g is not None)]
    shape = (2, 3, FILTERS)
    assert layer.compute_output_shape(x.shape) == shape
    assert_as_reference(layer, x, cotangent.reshape(shape), want.reshape(shape), want_gradients)


@pytest.mark.parametrize("rescaling", RESCALINGS)
def test_the_reference_gradients_are_those_of_its_outputs(rng, rescaling):
    arrays = [rng.standard_normal(shape) for shape in ((2, 5, 4, 2), (3, 3, 2, 2, 3), (3, 3, 2, 2), (3, 3, 2, 3))]
    cotangent = rng.standard_normal((2, 3, 2, 3))

    def loss(images, a, b, bias):
        outputs, matrix = Convolution(a, b, bias, 2, "symmetric", rescaling)(images)
        as_product = matrix @ images.reshape(2, -1, 1)
        np.testing.assert_allclose(outputs.reshape(2, -1), as_product[..., 0])
        return np.sum(outputs * cotangent)

    wanted = Convolution(*arrays[1:], 2, "symmetric", rescaling).gradients(arrays[0], cotangent)
    for position, want in enumerate(wanted):
        direction = rng.standard_normal(want.shape)
        ends = []
        for step in (1e-6, -1e-6):
            shifted = list(arrays)
            shifted[position] = shifted[position] + step * direction
            ends.append(loss(*shifted))
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.sum(want * direction), slope, rtol=1e-6)


@pytest.mark.parametrize(("ratio", "tolerance"), [(0.1, 2e-5), (0.01, 2e-3)])
@pytest.mark.parametrize("rescaling", ["sq", "l2"])
def test_a_bias_that_nearly_cancels_costs_what_is_documented(rng, rescaling, ratio, tolerance):
    """|u| is `ratio` of |b|: the errors in docs/benchmarks.md."""
    a, b = rng.uniform(-0.3, 0.3, (20, 4, 3)).astype("float32"), rng.uniform(-0.2, 0.2, (20, 4)).astype("float32")
    x = rng.random((1, 20)).astype("float32")
    product = np.einsum("drn,r->dn", a.astype("float64"), x[0].astype("float64") @ b)
    other = rng.standard_normal(product.shape)
    bias = ratio * other * np.linalg.norm(product, axis=0) / np.linalg.norm(other, axis=0) - product
    layer = DAUDense(3, 4, rescaling=rescaling)
    layer.build(x.shape)
    layer.set_weights([a, b, bias])
    want, weights = dau(x.astype("float64"), a, b, bias.astype("float32").astype("float64"), rescaling)
    scale = np.linalg.norm(weights, axis=1) * np.linalg.norm(x)
    assert (np.abs(ops.convert_to_numpy(layer(x)) - want) < tolerance * scale).all()
