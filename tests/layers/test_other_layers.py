"""The rescalings, and the layers of a CoDA-Net that are no DAUs."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_coda.layers import InputEncoding, LogitScaling, SumPooling2D, l2, sq


def test_rescalings_are_those_of_equation_2():
    norms = np.array([0.1, 1.0, 7.0])
    np.testing.assert_allclose(ops.convert_to_numpy(l2(norms)) * norms, 1, rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(sq(norms)) * norms, norms**2 / (1 + norms**2), rtol=1e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_input_encoding(rng, data_format):
    axis = -1 if data_format == "channels_last" else 1
    images = rng.random((2, 3, 4, 5)).astype("float32")
    layer = InputEncoding(data_format)
    encoded = ops.convert_to_numpy(layer(images))
    np.testing.assert_allclose(encoded, np.concatenate([images, 1 - images], axis), atol=1e-7)
    assert layer.compute_output_shape(images.shape) == encoded.shape


def test_input_encoding_without_the_negative(rng):
    images = rng.random((2, 3, 4, 5)).astype("float32")
    layer = InputEncoding(add_negative=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(images)), images)
    assert layer.compute_output_shape(images.shape) == images.shape


def test_input_encoding_divides_integers():
    images = np.array([[[[0, 51, 255]]]], "uint8")
    np.testing.assert_allclose(InputEncoding()(images), [[[[0, 0.2, 1, 1, 0.8, 0]]]], atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1), (-2.1, 2.6), (0, 1.26), (np.nan, 1)])
def test_input_encoding_refuses_other_ranges(low, high):
    images = np.full((1, 2, 2, 1), 0.5, "float32")
    images[0, 0, 0], images[0, 1, 1] = low, high
    with pytest.raises(ValueError, match=rf"floats in \[0, 1\], or integers .* Received: float32 .* {low:g} to "):
        InputEncoding()(images)


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -1, 100), ("int16", 0, 256), ("int32", -1, 255)])
def test_input_encoding_refuses_integers_outside_of_255(dtype, low, high):
    images = ops.convert_to_tensor(np.array([[low, high]], dtype))
    with pytest.raises(ValueError, match=rf"integers in 0\.\.255, .* Received: {dtype} .* from {low} to {high}\."):
        InputEncoding()(images)
    np.testing.assert_array_equal(InputEncoding(add_negative=False)(np.array([[0, 255]], "int16")), [[0, 1]])


def test_in_a_compiled_graph_images_out_of_range_are_nan(monkeypatch):
    """Compiled code cannot raise errors. All other images stay the same."""
    monkeypatch.setattr("keras_coda.backend.is_concrete", lambda tensor: False)
    images = np.array([[0, 200], [0.5, 1], [-1, 1]], "float32")
    want = np.where([[False], [True], [False]], images, np.nan)
    np.testing.assert_array_equal(InputEncoding(add_negative=False)(images), want)
    integers = ops.convert_to_tensor(np.array([[0, 256], [51, 255], [-1, 255]], "int16"))
    np.testing.assert_allclose(InputEncoding(add_negative=False)(integers), [[np.nan] * 2, [0.2, 1], [np.nan] * 2])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch.func is PyTorch's")
def test_input_encoding_within_a_transformed_function_of_pytorch():
    """Its tensors hide their values. Images out of range are NaN there, as in a compiled graph."""
    torch = pytest.importorskip("torch")
    gradients = torch.func.grad(lambda images: InputEncoding(add_negative=False)(images).sum())(torch.full((1, 2), 0.5))
    np.testing.assert_array_equal(gradients, [[1, 1]])
    encoded = torch.func.vmap(InputEncoding(add_negative=False))(torch.tensor([[[0.5, 1.0]], [[-1.0, 1.0]]]))
    np.testing.assert_array_equal(encoded, [[[0.5, 1]], [[np.nan, np.nan]]])


def test_input_encoding_allows_slight_overshoot_and_any_values_in_training():
    overshoot = np.array([[-0.25, 1.25]], "float32")
    np.testing.assert_allclose(InputEncoding()(overshoot), [[-0.25, 1.25, 1.25, -0.25]], atol=1e-6)
    np.testing.assert_allclose(InputEncoding()(np.array([[3.0]]), training=True), [[3.0, -2.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("data_format", "shape", "axis"), [("channels_last", (1, 4, 5, 1), -1), ("channels_first", (1, 1, 4, 5), 1)]
)
def test_images_with_other_channels_are_refused_by_the_encoding(data_format, shape, axis):
    """Not by the layer behind it, which would name twice as many channels."""
    encoding = InputEncoding(data_format, name="encoding")
    encoding(np.zeros((1, 4, 5, 3) if axis == -1 else (1, 3, 4, 5)))
    with pytest.raises(
        ValueError, match=rf"'encoding'.*expected axis {axis} of input shape to have value 3.*{re.escape(str(shape))}"
    ):
        encoding(np.zeros(shape))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_sum_pooling(rng, data_format):
    images = rng.random((2, 3, 4, 5)).astype("float32")
    layer = SumPooling2D(data_format)
    want = images.sum((1, 2) if data_format == "channels_last" else (2, 3))
    np.testing.assert_allclose(layer(images), want, rtol=1e-6)
    assert layer.compute_output_shape(images.shape) == want.shape


def test_logit_scaling():
    x = np.array([[20.0, -50.0]], "float32")
    np.testing.assert_allclose(LogitScaling(10.0, bias=-1.0)(x), [[1.0, -6.0]], rtol=1e-6)
    np.testing.assert_allclose(LogitScaling()(x), x + np.log(0.1 / 0.9), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_logit_scaling_needs_a_positive_and_finite_temperature(temperature):
    with pytest.raises(ValueError, match=f"`temperature` must be positive and finite. Received: {temperature}"):
        LogitScaling(temperature)


@pytest.mark.parametrize("layer", [InputEncoding, SumPooling2D])
def test_an_unknown_data_format_is_an_error(layer):
    with pytest.raises(ValueError, match=r"`data_format` must be .*channels_first.* Received: 'NHWC'"):
        layer(data_format="NHWC")


@pytest.mark.parametrize(
    ("layer_class", "arguments"),
    [
        (InputEncoding, {"data_format": "channels_first", "add_negative": False}),
        (SumPooling2D, {"data_format": "channels_first"}),
        (LogitScaling, {"temperature": 3.0, "bias": 0.5}),
    ],
)
def test_configuration(layer_class, arguments):
    config = keras.saving.serialize_keras_object(layer_class(**arguments))
    copy = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(copy) == config
    assert {name: getattr(copy, name) for name in arguments} == arguments
