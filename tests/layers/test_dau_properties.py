"""What holds of every DAU layer: bounds, initial weights, zeros, precision, configuration, errors."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from on_backend import evaluate, gradients
from reference import Convolution, relative_error

from keras_coda import DAUConv2D, DAUDense
from keras_coda.layers import l2

ROUNDING = 1e-5
SCALES = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)


def norms_and_bounds(layer, patches_of):
    """A function of an input and the layer's weights: outputs, the norms of W's rows, the norms of the patches."""

    def function(x, *weights):
        with keras.StatelessScope(state_mapping=zip(layer.trainable_variables, weights, strict=True)):
            outputs, W = layer.linear_map(x)
            size = math.prod(outputs.shape[1:])
            unit_vectors = ops.reshape(ops.eye(size), (size, 1, *outputs.shape[1:]))
            rows = W.T @ ops.broadcast_to(unit_vectors, (size, *outputs.shape))
        squared = ops.sum(ops.square(rows), axis=tuple(range(2, len(rows.shape))))
        return outputs, ops.sqrt(squared), ops.sqrt(ops.sum(ops.square(patches_of(x)), axis=-1, keepdims=True))

    return function


@pytest.mark.parametrize("rescaling", ["sq", "l2"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_weights_and_outputs_are_bounded(drawn, convolutional, rescaling):
    arguments = {"rank": 3, "rescaling": rescaling, "a_initializer": drawn, "b_initializer": drawn}
    if convolutional:
        shape, layer = (2, 4, 3, 2), DAUConv2D(2, 2, strides=2, padding="symmetric", **arguments)
        patches = lambda x: ops.image.extract_patches(x, 2, strides=2)  # noqa: E731
    else:
        shape, layer, patches = (2, 7), DAUDense(3, **arguments), lambda x: x
    layer.build(shape)
    function = norms_and_bounds(layer, patches)

    @given(st.integers(0, 2**32 - 1), SCALES, SCALES)
    def bounded(seed, input_scale, weight_scale):
        draw = np.random.default_rng(seed).standard_normal
        x = (input_scale * draw(shape)).astype("float32")
        weights = [(weight_scale * draw(v.shape)).astype("float32") for v in layer.trainable_variables]
        outputs, row_norms, patch_norms = evaluate(function, x, *weights)
        assert row_norms.max() <= 1 + ROUNDING
        if rescaling == "l2":
            np.testing.assert_allclose(row_norms, 1, atol=ROUNDING)
        assert (np.abs(outputs) <= patch_norms * (1 + ROUNDING)).all()

    bounded()


@pytest.mark.parametrize("use_bias", [True, False])
def test_parameters(drawn, use_bias):
    d, rank, units = 3 * 2 * 5, 7, 11
    arguments = {"use_bias": use_bias, "a_initializer": drawn, "b_initializer": drawn, "bias_initializer": drawn}
    convolution = DAUConv2D(units, (3, 2), rank, **arguments)
    convolution.build((None, None, None, 5))
    dense = DAUDense(units, rank, **arguments)
    dense.build((None, d))
    for layer in (convolution, dense):
        assert layer.count_params() == d * rank + d * rank * units + (d * units if use_bias else 0)
        assert [v.name for v in layer.trainable_variables] == ["a_kernel", "b_kernel", "bias"][: 3 if use_bias else 2]
    assert convolution.a_kernel.shape == (3, 2, 5, rank, units)
    assert convolution.b_kernel.shape == (3, 2, 5, rank)


@pytest.mark.parametrize("layer", [DAUDense(20, 9), DAUConv2D(20, 3, 9)])
def test_initial_weights_are_uniform_in_their_documented_range(layer):
    layer.build((None, 225) if isinstance(layer, DAUDense) else (None, 8, 8, 25))
    for variable, fan_in in ((layer.a_kernel, 9), (layer.b_kernel, 225), (layer.bias, 9)):
        values, reach = ops.convert_to_numpy(variable), 1 / math.sqrt(fan_in)
        assert np.abs(values).max() <= reach * (1 + 1e-6)
        assert values.max() > 0.99 * reach
        assert values.min() < -0.99 * reach
        # The standard deviation of a uniform distribution.
        np.testing.assert_allclose(values.std(), reach / math.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("rescaling", ["sq", "l2"])
def test_patches_of_zeros_give_finite_outputs_and_gradients(drawn, rescaling, dtype):
    images = np.zeros((1, 6, 6, 2), "float32")
    images[:, :2, :2] = 0.5  # the patches of other positions are zeros
    layers = {}
    for bias in ("no", "zero", "drawn"):
        layers[bias] = DAUConv2D(
            2,
            3,
            2,
            padding="symmetric",
            rescaling=rescaling,
            use_bias=bias != "no",
            a_initializer=drawn,
            b_initializer=drawn,
            bias_initializer="zeros" if bias == "zero" else drawn,
            dtype=dtype,
        )
        layers[bias].build(images.shape)
    variables = [variable for layer in layers.values() for variable in layer.trainable_variables]
    # Copies of the images, so that the layers' gradients stay apart.
    arrays = [images, images, images, *map(ops.convert_to_numpy, variables)]

    def call(*tensors):
        outputs, weights = [], list(tensors[3:])
        for layer, x in zip(layers.values(), tensors[:3], strict=True):
            count = len(layer.trainable_variables)
            outputs.append(layer.stateless_call(weights[:count], [], x)[0])
            del weights[:count]
        return ops.stack(outputs)

    outputs, got = gradients(call, arrays, np.ones((3, 1, 6, 6, 2)))
    assert np.isfinite(outputs.astype("float32")).all()
    assert (outputs[:, :, 3:, 3:] == 0).all()
    assert (outputs[:, :, 0, 0] != 0).all()
    names = [f"{bias} bias: input" for bias in layers]
    names += [f"{bias} bias: {v.name}" for bias, layer in layers.items() for v in layer.trainable_variables]
    finite = {name: np.isfinite(g.astype("float32")).all() for name, g in zip(names, got, strict=True)}
    assert all(finite.values()), [name for name, is_finite in finite.items() if not is_finite]
    assert all((g != 0).any() for g in got)


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)])
def test_mixed_precision(rng, drawn, dtype, tolerance):
    layer = DAUConv2D(
        4, 3, 3, padding="symmetric", a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn, dtype=dtype
    )
    images = rng.random((2, 5, 5, 6)).astype("float32")
    layer.build(images.shape)
    outputs = evaluate(layer, images)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    assert {v.dtype for v in layer.variables} == {"float32"}
    kernels = [ops.convert_to_numpy(v) for v in (layer.a_kernel, layer.b_kernel, layer.bias)]
    want, _ = Convolution(*kernels)(images)
    assert relative_error(outputs, want) < tolerance


def test_norms_are_in_float32_under_mixed_precision(rng, drawn):
    layer = DAUDense(4, 3, dtype="mixed_float16", a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn)
    x = rng.random((2, 7)).astype("float32")
    layer.build(x.shape)
    layer.bias.assign(500 * layer.bias)
    u = ops.convert_to_numpy(layer.bias)
    assert np.square(np.linalg.norm(u, axis=0)).min() > np.finfo("float16").max
    # So large a bias is all that counts in u.
    want = x @ (u / np.linalg.norm(u, axis=0))
    assert relative_error(evaluate(layer, x), want) < 1e-2


def test_a_channels_first_layer_is_the_other_transposed(rng, drawn):
    images = rng.random((2, 7, 6, 3)).astype("float32")
    arguments = {"strides": (2, 1), "padding": "same", "a_initializer": drawn, "b_initializer": drawn}
    last = DAUConv2D(4, 3, 2, data_format="channels_last", **arguments)
    first = DAUConv2D(4, 3, 2, data_format="channels_first", **arguments)
    last.build(images.shape)
    first.build((2, 3, 7, 6))
    first.set_weights(last.get_weights())
    got = evaluate(first, np.moveaxis(images, -1, 1))
    np.testing.assert_allclose(np.moveaxis(got, 1, -1), evaluate(last, images), atol=1e-6)


def test_regularizers_and_constraints(rng):
    layer = DAUDense(
        3,
        2,
        a_regularizer=keras.regularizers.L1(0.1),
        b_regularizer=keras.regularizers.L2(0.2),
        bias_regularizer=keras.regularizers.L1(0.3),
        activity_regularizer=keras.regularizers.L2(0.4),
        a_constraint="non_neg",
        b_constraint=keras.constraints.MaxNorm(1.0),
        bias_constraint="unit_norm",
    )
    outputs = ops.convert_to_numpy(layer(rng.random((2, 5)).astype("float32")))
    a, b, bias = (ops.convert_to_numpy(v) for v in (layer.a_kernel, layer.b_kernel, layer.bias))
    want = [0.1 * np.abs(a).sum(), 0.2 * (b**2).sum(), 0.3 * np.abs(bias).sum(), 0.4 * (outputs**2).sum() / 2]
    np.testing.assert_allclose(sorted(map(float, layer.losses)), sorted(want), rtol=1e-5)
    assert isinstance(layer.a_kernel.constraint, keras.constraints.NonNeg)
    assert isinstance(layer.b_kernel.constraint, keras.constraints.MaxNorm)
    assert isinstance(layer.bias.constraint, keras.constraints.UnitNorm)


@keras.saving.register_keras_serializable(package="tests")
def halved(norm):
    return 0.5 * l2(norm)


@pytest.mark.parametrize("rescaling", ["sq", "l2", halved])
@pytest.mark.parametrize(
    "layer_class", [lambda **kwargs: DAUDense(3, **kwargs), lambda **kwargs: DAUConv2D(3, (2, 3), strides=2, **kwargs)]
)
def test_configuration(layer_class, rescaling):
    layer = layer_class(
        rank=2,
        rescaling=rescaling,
        use_bias=False,
        a_initializer=keras.initializers.RandomNormal(seed=3),
        b_regularizer=keras.regularizers.L2(0.5),
        bias_constraint="non_neg",
        activity_regularizer=keras.regularizers.L1(0.25),
        name="chosen",
        dtype="mixed_bfloat16",
    )
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert keras.saving.serialize_keras_object(copy) == config
    for name in ("units", "filters", "rank", "rescaling", "kernel_size", "strides"):
        assert getattr(copy, name, None) == getattr(layer, name, None)
    assert (copy.use_bias, copy.name, copy.dtype_policy.name) == (False, "chosen", "mixed_bfloat16")
    assert (copy.a_initializer.seed, copy.b_regularizer.l2, copy.activity_regularizer.l1) == (3, 0.5, 0.25)
    assert isinstance(copy.bias_constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DAUDense(0, 3), "`units` must be a positive integer. Received: 0"),
        (lambda: DAUDense(3, 2.5), "`rank` must be a positive integer. Received: 2.5"),
        (lambda: DAUDense(3, 2, rescaling="l1"), r"one of \['l2', 'sq'\] or a function of the norm. Received: 'l1'"),
        (lambda: DAUConv2D(3, 0, 2), "`kernel_size` must be a positive integer or two of them. Received: 0"),
        (lambda: DAUConv2D(3, None, 2), "`kernel_size` must be a positive integer or two of them. Received: None"),
        (lambda: DAUConv2D(3, (1, 2, 3), 2), r"`kernel_size` must be .* two of them. Received: \(1, 2, 3\)"),
        (lambda: DAUConv2D(3, 3, 2, strides=(1, 0)), r"`strides` must be .* two of them. Received: \(1, 0\)"),
        (lambda: DAUConv2D(3, 3, 2, padding="full"), "`padding` must be one of .*'symmetric'.* Received: 'full'"),
        (lambda: DAUConv2D(3, 3, 2, data_format="NHWC"), "`data_format` must be .*channels_first.* Received: 'NHWC'"),
        (lambda: DAUDense(3, 2).build((2, None)), r"known last axis. Received: input_shape=\(2, None\)"),
        (lambda: DAUConv2D(3, 3, 2).build((None, 8, 8, None)), r"known number of channels .*\(None, 8, 8, None\)"),
        (lambda: DAUConv2D(3, 3, 2)(np.zeros((8, 8, 3))), r"4 axes, batch, height, width .*\(8, 8, 3\)"),
        (lambda: DAUConv2D(3, 3, 2).compute_output_shape((1, 2, 8, 1)), r"no position in images of shape \(2, 8, 1\)"),
        (lambda: DAUConv2D(3, 3, 2)(np.zeros((1, 2, 8, 1))), r"no position in images|input is too small"),
        (lambda: DAUConv2D(3, 3, 2)(keras.Input((2, 8, 1))), r"no position in images of shape \(2, 8, 1\)"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_another_number_of_channels_than_built_for_is_an_error():
    layer = DAUConv2D(3, 1, 2)
    layer.build((None, 4, 4, 2))
    with pytest.raises(ValueError, match=r"expected axis -1 .* have value 2"):
        layer(np.zeros((1, 4, 4, 3)))
