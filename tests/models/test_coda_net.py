"""The network: its sizes, forms, configuration, precision and errors; and its numbers, on every backend the same."""

import functools
import json

import keras
import numpy as np
import pytest
import reference
from on_backend import evaluate
from reference import relative_error
from small_models import CLASSES, IMAGE_SHAPE, LOGIT_BIAS, TEMPERATURE, small_coda_net

import keras_coda
from keras_coda import CoDANet

# Layers are built, but their weights are not drawn.
NO_WEIGHTS = functools.partial(keras.StatelessScope, initialize_variables=False)


@pytest.fixture
def images(rng):
    return rng.random((2, *IMAGE_SHAPE)).astype("float32")


def wanted_logits(model, images):
    outputs, _ = reference.coda_net(images, reference.layers_of(model))
    return outputs / TEMPERATURE + LOGIT_BIAS


def test_same_numbers_on_every_backend():
    """Logits, W(x) and its penalty for weights and images drawn by NumPy, against the float64 network in NumPy.

    The reference is the same whichever the backend: backends that pass this test agree with one another.
    """
    rng = np.random.default_rng(42)
    model = small_coda_net(penalty=1.0, penalized_classes="all")
    for variable in model.trainable_variables:
        variable.assign(rng.uniform(-0.7, 0.7, variable.shape).astype("float32"))
    images = rng.random((3, *IMAGE_SHAPE)).astype("float32")
    outputs, matrix = reference.coda_net(images, reference.layers_of(model))
    explanation = model.explain(images, "all")
    assert relative_error(explanation.logits, outputs / TEMPERATURE + LOGIT_BIAS) < 1e-4
    maps = (matrix / TEMPERATURE).reshape(3, CLASSES, *IMAGE_SHAPE[:2], 6)
    assert relative_error(explanation.weights, maps) < 1e-4
    contributions = maps * reference.encode(images.astype("float64"))[:, None]
    assert relative_error(explanation.contribution_map, contributions.sum(-1)) < 1e-4
    penalty = evaluate(lambda x: model.linear_map_penalty(x, np.array([0, 1, 2])), images)
    np.testing.assert_allclose(penalty, np.abs(matrix / TEMPERATURE).mean(), rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "classes", "parameters", "temperature", "strides"),
    [
        ("s", 10, 7_782_816, 1000.0, [1, 1, 2, 1, 1, 2, 1, 1, 1]),
        ("m", 10, 27_517_536, 64.0, [1, 1, 2, 1, 1, 2, 1, 1, 1]),
        ("l", 100, 47_517_408, 1e5, [3, 1, 1, 2, 1, 1, 2, 1, 1]),
        ("xl", 200, 62_055_648, 6400.0, [1, 1, 1, 2, 1, 1, 2, 1, 1]),
    ],
)
def test_sizes(size, classes, parameters, temperature, strides):
    with NO_WEIGHTS():
        model = CoDANet.from_size(size)
    assert model.count_params() == parameters
    assert model.classes == classes == model.output_shape[-1]
    assert model.temperature == temperature
    assert model.strides == strides
    assert model.name == f"{size}_coda"
    assert model.input_shape == (None, None, None, 3)


def test_sizes_with_other_arguments():
    with NO_WEIGHTS():
        model = CoDANet.from_size("s", classes=7, temperature=10.0, penalty=0.5, name="mine", image_shape=(28, 28, 1))
    assert model.filters == [16, 16, 32, 32, 32, 64, 64, 64, 7]
    assert (model.temperature, model.penalty, model.name) == (10.0, 0.5, "mine")
    assert model.output_shape == (None, 7)
    assert model.get_layer("dau_9").input.shape == (None, 7, 7, 64)
    with pytest.raises(ValueError, match=r"`size` must be one of \['s', 'm', 'l', 'xl'\]. Received: 'xxl'"):
        CoDANet.from_size("xxl")


def test_images_of_any_size(rng):
    model = small_coda_net(image_shape=(None, None, 3))
    for size in ((5, 6), (8, 3), (1, 1)):
        images = rng.random((2, *size, 3)).astype("float32")
        want = wanted_logits(model, images)
        assert relative_error(model.predict(images, verbose=0), want) < 1e-5
        if size == (8, 3):
            explanation = model.explain(images)
            assert explanation.contribution_map.shape == (2, 8, 3)
            assert np.abs(explanation.residual).max() < 1e-5


def test_channels_first(images):
    last = small_coda_net()
    first = small_coda_net(image_shape=(3, 5, 6), data_format="channels_first")
    first.set_weights(last.get_weights())
    got, want = first.explain(np.moveaxis(images, -1, 1), "all"), last.explain(images, "all")
    np.testing.assert_allclose(got.logits, want.logits, atol=1e-6)
    np.testing.assert_allclose(np.moveaxis(got.contributions, 2, -1), want.contributions, atol=1e-6)
    np.testing.assert_allclose(got.contribution_map, want.contribution_map, atol=1e-6)
    np.testing.assert_allclose(first.predict(np.moveaxis(images, -1, 1), verbose=0), want.logits, atol=1e-6)
    with NO_WEIGHTS():
        default = CoDANet([2], [1], [1], [1], data_format="channels_first")
    assert default.input_shape == (None, 3, None, None)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integer_images(images, dtype):
    model = small_coda_net()
    integers = np.round(255 * images).astype(dtype)
    want = model.predict(integers.astype("float32") / 255, verbose=0)
    np.testing.assert_allclose(model.predict(integers, verbose=0), want, atol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(integers)), want, atol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
def gentle(norm):
    """A rescaling of a user's own."""
    return 1.0 / (2.0 + norm)


def test_configuration(tmp_path, images):
    model = small_coda_net(
        rescaling=gentle,
        use_bias=False,
        penalty=0.25,
        penalized_classes="all",
        add_negative=False,
        image_shape=(None, 6, 3),
        seed=3,
        name="mine",
    )
    config = model.get_config()
    copy = CoDANet.from_config(config)
    assert copy.get_config() == config
    assert json.loads(json.dumps(config))["filters"] == model.filters
    assert (copy.penalty, copy.penalized_classes, copy.seed, copy.name) == (0.25, "all", 3, "mine")
    assert copy.input_shape == (None, None, 6, 3)
    assert copy.get_layer("dau_1").b_kernel.shape == (3, 3, 3, 2)
    assert {layer.rescaling for layer in copy.layers if hasattr(layer, "rescaling")} == {gentle}
    assert len(copy.trainable_variables) == 6

    unregistered = {**config, "rescaling": {**config["rescaling"], "config": "elsewhere>gentle"}}
    copy = CoDANet.from_config(unregistered, custom_objects={"elsewhere>gentle": gentle})
    assert copy.get_layer("dau_1").rescaling is gentle

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is CoDANet
    assert loaded.get_config() == config
    explanation = loaded.explain(images)
    np.testing.assert_array_equal(explanation.logits, model.explain(images).logits)
    assert explanation.contributions.shape == (2, *IMAGE_SHAPE)  # of the image alone, not of its negative
    assert np.abs(explanation.residual).max() < 1e-6


def test_a_loaded_model_keeps_its_dtype_policy(tmp_path):
    small_coda_net(dtype="mixed_bfloat16").save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    assert loaded.get_layer("dau_1").compute_dtype == "bfloat16"


def test_weights_fit_models_with_another_penalty(tmp_path):
    model, penalized = small_coda_net(), small_coda_net(penalty=0.1)
    model.save_weights(tmp_path / "model.weights.h5")
    penalized.load_weights(tmp_path / "model.weights.h5")
    for got, want in zip(penalized.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(np.array(got), np.array(want))
    penalized.save_weights(tmp_path / "penalized.weights.h5")
    model.load_weights(tmp_path / "penalized.weights.h5")


def test_a_frozen_copy_stays_frozen():
    model = small_coda_net()
    model.trainable = False
    assert not CoDANet.from_config(model.get_config()).trainable_variables


def test_parts_are_functional_models(images):
    model = small_coda_net()
    inner = keras.Model(model.input, model.get_layer("dau_2").output)
    want = reference.encode(images)
    for layer in reference.layers_of(model)[:2]:
        want, _ = layer(want)
    assert relative_error(inner.predict(images, verbose=0), want) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": [3, 5]}, "an entry for every layer. Received: 2 filters, 3 kernel_sizes, 3 ranks, 3 strides"),
        ({"strides": []}, "an entry for every layer. Received: 3 filters, .*, 0 strides"),
        ({"filters": [], "kernel_sizes": [], "ranks": [], "strides": []}, "Received: 0 filters, 0 kernel_sizes"),
        ({"filters": 3}, "`filters`, .* must each have an entry for every layer"),
        ({"ranks": 3}, "must each have an entry for every layer"),
        ({"filters": [3, 0, 4]}, "must be a positive integer. Received: 0"),
        ({"ranks": [3, 2.5, 4]}, "`rank` must be a positive integer. Received: 2.5"),
        ({"kernel_sizes": [3, 3, "one"]}, "`kernel_size` must be a positive integer.* Received: 'one'"),
        ({"temperature": 0.0}, "`temperature` must be positive and finite. Received: 0.0"),
        ({"rescaling": "l1"}, "`rescaling` must be one of .* Received: 'l1'"),
        ({"penalty": -1.0}, "`penalty` must not be negative. Received: -1.0"),
        ({"penalty": float("nan")}, "`penalty` must not be negative. Received: nan"),
        ({"penalized_classes": "some"}, r"`penalized_classes` must be one of .*'all'.* Received: 'some'"),
        ({"penalty": 1.0, "filters": [3, 5, 1]}, r"needs two classes. Received: filters\[-1\]=1"),
        ({"data_format": "NHWC"}, "`data_format` must be .* Received: 'NHWC'"),
        ({"image_shape": (28, 28)}, r"4 axes, batch, height, width .* Received: input_shape=\(None, 28, "),
        ({"image_shape": (28, 28, None)}, r"known number of channels"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items()),
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_coda_net(**arguments)


@pytest.mark.parametrize("set_on", ["model", "layer"])
def test_a_temperature_that_is_set_later_is_saved(tmp_path, images, set_on):
    model = small_coda_net()
    before = model.predict(images, verbose=0)
    if set_on == "model":
        model.temperature, model.logit_bias = 50, -1
    else:
        model.get_layer("logits").temperature, model.get_layer("logits").bias = 50.0, -1.0
        model.predict_function = None
    assert (model.temperature, model.logit_bias) == (50, -1)
    want = (before - LOGIT_BIAS) * TEMPERATURE / 50 - 1
    np.testing.assert_allclose(model.predict(images, verbose=0), want, rtol=1e-5)
    np.testing.assert_allclose(model.explain(images, "all").logits, want, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), want, rtol=1e-5)
    for value in (0, float("inf")):
        with pytest.raises(ValueError, match=f"`temperature` must be positive and finite. Received: {value}"):
            model.temperature = value


def test_a_temperature_that_is_set_while_training(images):
    model = small_coda_net(temperature=1.0)
    model.compile(keras.optimizers.SGD(0.0), keras_coda.OneVsRestCrossentropy())
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "temperature", 100.0))
    labels = np.array([0, 1])
    losses = model.fit(images, labels, epochs=2, batch_size=2, verbose=0, callbacks=[callback]).history["loss"]
    assert abs(losses[0] - losses[1]) > 1e-3
    np.testing.assert_allclose(losses[1], model.evaluate(images, labels, verbose=0), rtol=1e-5)
