"""Explanations in low precision, and in float32 of models that are in low precision."""

import keras
import numpy as np
import pytest
from reference import relative_error
from small_models import IMAGE_SHAPE, copy, small_coda_net

import keras_coda
from keras_coda import DAUConv2D
from keras_coda.layers import LogitScaling, SumPooling2D

FIELDS = ("logits", "weights", "contributions", "residual")
# Of logits, contributions and completeness, relative to the largest logit or contribution.
BOUNDS = {"mixed_float16": 5e-3, "mixed_bfloat16": 5e-2}


@pytest.fixture
def images(rng):
    return rng.random((3, *IMAGE_SHAPE)).astype("float32")


def errors(got, want):
    scale = np.abs(want.logits).max()
    return {
        "logits": relative_error(got.logits, want.logits),
        "contributions": relative_error(got.contributions, want.contributions),
        "completeness": np.abs(got.residual).max() / scale,
    }


@pytest.mark.parametrize("dtype", BOUNDS)
def test_low_precision_is_close_and_float32_on_request_is_exact(images, dtype):
    exact = small_coda_net(dtype="float32")
    model = small_coda_net(dtype=dtype)
    model.set_weights(exact.get_weights())
    want = exact.explain(images, "all")

    low = errors(model.explain(images, "all"), want)
    assert max(low.values()) < BOUNDS[dtype], low
    assert min(low.values()) > 1e-5, low  # it is in low precision indeed
    got = model.explain(images, "all", dtype="float32")
    for field in FIELDS:
        np.testing.assert_allclose(getattr(got, field), getattr(want, field), atol=1e-6)
    assert {layer.compute_dtype for layer in model.layers[1:-2]} == {dtype.removeprefix("mixed_")}
    np.testing.assert_array_equal(model.explain(images, "all").logits, model.explain(images, "all").logits)

    model.set_weights([0.5 * weights for weights in exact.get_weights()])
    exact.set_weights(model.get_weights())
    again = model.explain(images, "all", dtype="float32")
    np.testing.assert_allclose(again.weights, exact.explain(images, "all").weights, atol=1e-6)


def test_any_chain_of_layers(images, drawn):
    def make(dtype):
        layers = [DAUConv2D(4, 3, 2, a_initializer=drawn, b_initializer=drawn, dtype=dtype), SumPooling2D(dtype=dtype)]
        return keras.Sequential([keras.Input(IMAGE_SHAPE), *layers])

    exact, model = make("float32"), make("mixed_bfloat16")
    model.set_weights(exact.get_weights())
    want = keras_coda.explain(exact, images)
    got = keras_coda.explain(model, images, dtype="float32")
    np.testing.assert_allclose(got.contributions, want.contributions, atol=1e-6)


def test_keras_precision_may_be_another(images):
    """That of new models, which is set after this one was made. Keras rounds the images to it."""
    model = small_coda_net(dtype="float32")
    want = model.predict(images, verbose=0)
    keras.config.set_floatx("float16")
    try:
        got = keras_coda.explain(model, images, dtype="float32")
    finally:
        keras.config.set_floatx("float32")
    np.testing.assert_allclose(got.logits, want, atol=1e-3)


def test_unknown_precision(images):
    with pytest.raises(ValueError, match="half"):
        small_coda_net().explain(images, dtype="half")


def test_images_are_not_rounded_to_keras_policy_of_the_moment(images, low_precision):
    model = small_coda_net(dtype="float32")
    want = model.explain(images, "all")
    other = copy(model)
    with low_precision():
        got = other.explain(images, "all")
    assert max(errors(got, want).values()) < 1e-6


def branched(dtype, temperature, drawn):
    """What half precision could round on the way from the logits: joins, parts, and a tensor without axes."""
    settings = {"data_format": "channels_last", "dtype": dtype}
    inputs = keras.Input(IMAGE_SHAPE, dtype=dtype.removeprefix("mixed_"))
    x = DAUConv2D(6, 3, 2, padding="symmetric", a_initializer=drawn, b_initializer=drawn, **settings)(inputs)
    x = keras.layers.BatchNormalization(axis=-1, dtype=dtype)(x)
    first, _, last = keras.ops.split(x, 3, axis=-1)
    x = keras.ops.concatenate([first + last, last], axis=-1)
    x = keras.layers.Conv2D(1, IMAGE_SHAPE[:2], kernel_initializer=drawn, **settings)(x)
    x = keras.layers.Reshape((1,), dtype=dtype)(keras.layers.Reshape((), dtype=dtype)(x))
    return keras.Model(inputs, LogitScaling(temperature, dtype="float32")(x))


@pytest.mark.parametrize("temperature", [1.0, 1e5])
def test_a_high_temperature_does_not_round_maps_to_zero_in_float16(images, drawn, temperature):
    exact = branched("float32", temperature, drawn)
    model = branched("mixed_float16", temperature, drawn)
    model.set_weights(exact.get_weights())
    want, got = (keras_coda.explain(m, images, "all") for m in (exact, model))
    error = relative_error(got.weights, want.weights)
    assert 1e-5 < error < BOUNDS["mixed_float16"]


def test_a_relu_in_float32_after_layers_in_bfloat16(images, drawn):
    inputs = keras.Input(IMAGE_SHAPE)
    x = keras.layers.ReLU(dtype="float32")(keras.layers.Dense(4, dtype="mixed_bfloat16")(inputs))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=drawn)(x))
    explanation = keras_coda.explain(model, images, "all", piecewise_linear=True)
    total = explanation.contributions.sum((2, 3, 4)) + explanation.bias
    assert relative_error(total, model.predict(images, verbose=0)) < BOUNDS["mixed_bfloat16"]


def test_a_coda_net_of_a_high_temperature_in_float16(images):
    exact = small_coda_net(temperature=1e5)
    model = small_coda_net(temperature=1e5, dtype="mixed_float16")
    model.set_weights(exact.get_weights())
    want, got = (m.explain(images, "all") for m in (exact, model))
    assert relative_error(got.weights, want.weights) < BOUNDS["mixed_float16"]
