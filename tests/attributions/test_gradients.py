"""Gradients, integrated, smoothed and guided: against NumPy, and what must hold of each."""

import keras
import numpy as np
import pytest
import tiny_models
from keras import layers
from small_models import small_coda_net
from tiny_models import CLASSES, IMAGE_SHAPE, draw_weights

import keras_coda
from keras_coda.attributions import (
    GradCAM,
    Gradient,
    GuidedBackpropagation,
    InputXGradient,
    IntegratedGradients,
    SmoothGrad,
)
from keras_coda.layers import InputEncoding, LogitScaling, SumPooling2D

TARGETS = np.array([[1, 3], [0, 2]])


def two_layers(activation, data_format="channels_last", hidden=8):
    """Two dense layers, with the nonlinearity as an argument of the first or as an operation of its own."""
    shape = IMAGE_SHAPE if data_format == "channels_last" else (IMAGE_SHAPE[-1], *IMAGE_SHAPE[:-1])
    inputs = keras.Input(shape)
    # A layer keeps the order of its weights: first pixels, then channels, whatever the format of the images.
    x = layers.Flatten(data_format=data_format)(inputs)
    if isinstance(activation, str):
        x = layers.Dense(hidden, activation=activation)(x)
    else:
        x = activation(layers.Dense(hidden)(x))
    return draw_weights(keras.Model(inputs, layers.Dense(CLASSES)(x)), scale=0.2)


def in_numpy(model, images, targets, backward):
    """The gradients `(N, K, ...)` of `two_layers`, where `backward(hidden, gradient)` goes through the nonlinearity."""
    first, bias, second, _ = (np.array(w, "float64") for w in model.get_weights())
    hidden = images.reshape(len(images), -1) @ first + bias
    upstream = np.moveaxis(second[:, targets], 0, -1)
    gradients = backward(hidden[:, np.newaxis], upstream) @ first.T
    return gradients.reshape(*targets.shape, *IMAGE_SHAPE)


def tanh_backward(hidden, gradient):
    return gradient * (1 - np.tanh(hidden) ** 2)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradient_of_two_layers(data_format):
    model, images = two_layers("tanh", data_format), tiny_models.images()
    want = in_numpy(model, images, TARGETS, tanh_backward)
    if data_format == "channels_first":
        images, want = np.moveaxis(images, -1, 1), np.moveaxis(want, -1, 2)
    got = Gradient(model)(images, TARGETS)
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(InputXGradient(model)(images, TARGETS), want * images[:, np.newaxis], atol=1e-6)
    channels = -1 if data_format == "channels_last" else 2
    np.testing.assert_allclose(Gradient(model).maps(images, TARGETS), want.sum(channels), atol=1e-5)
    every = Gradient(model).maps(images, "all")
    np.testing.assert_allclose(every[np.arange(2)[:, np.newaxis], TARGETS], want.sum(channels), atol=1e-5)


@pytest.mark.parametrize("method", [Gradient, GuidedBackpropagation, GradCAM])
def test_gradients_of_unlikely_classes_do_not_vanish_in_float16(method):
    def network(dtype):
        inputs = keras.Input(IMAGE_SHAPE)
        x = layers.Conv2D(4, 3, activation="relu", data_format="channels_last", dtype=dtype)(inputs)
        x = layers.Dense(CLASSES, dtype=dtype)(layers.Flatten(data_format="channels_last", dtype=dtype)(x))
        return draw_weights(keras.Model(inputs, layers.Softmax(dtype="float32")(x)), scale=0.8)

    exact, model, images = network("float32"), network("mixed_float16"), tiny_models.images()
    want, got = method(exact)(images, "all"), method(model)(images, "all")
    assert exact.predict(images, verbose=0).min() < 1e-8
    assert model.layers[1].compute_dtype == "float16"
    largest = np.abs(want).max(axis=tuple(range(2, want.ndim)))
    assert (largest.max(axis=0) > 0).any()
    error = np.abs(got - want).max(axis=tuple(range(2, want.ndim)))
    assert (error <= 0.02 * largest).all()


def test_gradients_of_a_high_temperature_do_not_vanish_in_float16():
    """Also those in the encoded image, which a CoDA-Net has in float16."""
    exact, model = (small_coda_net(temperature=1e6, dtype=dtype) for dtype in ("float32", "mixed_float16"))
    model.set_weights(exact.get_weights())
    images = np.random.default_rng(0).random((2, *model.input_shape[1:]), "float32")
    want, got = (Gradient(network)(images, "all") for network in (exact, model))
    np.testing.assert_allclose(got, want, atol=0.01 * np.abs(want).max())


class Block(layers.Layer):
    """A residual block as one layer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, dtype=self.dtype_policy)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return inputs + self.dense(inputs)


@pytest.mark.parametrize(("dtype", "kind"), [("float16", layers.ReLU), ("mixed_float16", Block)])
def test_layers_that_cannot_compute_in_float32_stay_in_float16(dtype, kind):
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Dense(4, dtype=dtype)(layers.Flatten(dtype=dtype)(kind(dtype=dtype)(inputs)))
    model = draw_weights(keras.Model(inputs, x))
    maps = Gradient(model)(tiny_models.images(), 1)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


def test_outputs_that_do_not_depend_on_the_image_have_no_gradient():
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Dense(CLASSES)(keras.ops.zeros_like(layers.Flatten(data_format="channels_last")(inputs)))
    np.testing.assert_array_equal(Gradient(keras.Model(inputs, x))(tiny_models.images(), "all"), 0)


def test_targets_come_in_parts():
    """More than share a forward pass; and `None` is the predicted class."""
    flat = [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(5, activation="tanh"), layers.Dense(37)]
    model = draw_weights(keras.Sequential(flat))
    images = np.random.default_rng(0).random((3, 2, 2, 1), dtype="float32")
    every = Gradient(model, batch_size=2)(images, "all")
    assert every.shape == (3, 37, 2, 2, 1)
    for target in (0, 15, 16, 36):
        np.testing.assert_allclose(Gradient(model)(images, target), every[:, target], atol=1e-6)
    predicted = np.argmax(model.predict(images, verbose=0), axis=-1)
    np.testing.assert_allclose(Gradient(model)(images), every[np.arange(3), predicted], atol=1e-6)


def test_input_x_gradient_is_the_contributions_of_linear_layers():
    stack = [
        keras.Input(IMAGE_SHAPE),
        layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, data_format="channels_last"),
        layers.AveragePooling2D(2, data_format="channels_last"),
        layers.Conv2D(CLASSES, 2, use_bias=False, data_format="channels_last"),
        SumPooling2D(data_format="channels_last"),
        LogitScaling(3.0, bias=0.5),
    ]
    model, images = draw_weights(keras.Sequential(stack)), tiny_models.images()
    want = keras_coda.explain(model, images, TARGETS).contributions
    np.testing.assert_allclose(InputXGradient(model)(images, TARGETS), want, atol=1e-5)


# Integrated gradients.


def test_integrated_gradients_of_two_layers():
    model, images = two_layers("tanh"), tiny_models.images()
    baseline = tiny_models.images(seed=1)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    points = [baseline + (1 + node) / 2 * (images - baseline) for node in nodes]
    mean = sum(w / 2 * in_numpy(model, x, TARGETS, tanh_backward) for w, x in zip(weights, points, strict=True))
    want = mean * (images - baseline)[:, np.newaxis]
    for batch_size in (1, 4, 32):
        got = IntegratedGradients(model, steps=3, baseline=baseline, batch_size=batch_size)(images, TARGETS)
        np.testing.assert_allclose(got, want, atol=1e-6)


def tanh_cnn():
    stack = [
        keras.Input(IMAGE_SHAPE),
        layers.Conv2D(4, 3, activation="tanh", data_format="channels_last"),
        layers.Conv2D(4, 3, strides=2, activation="tanh", data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(CLASSES),
    ]
    return draw_weights(keras.Sequential(stack))


@pytest.mark.parametrize("make", [tanh_cnn, tiny_models.coda_net])
def test_integrated_gradients_are_complete(make):
    """With many steps they sum up to the difference from the baseline's output, which here is all 0.2."""
    model, images = make(), tiny_models.images()
    method = IntegratedGradients(model, steps=60, baseline=0.2)
    source = method.classifier.source(images)
    outputs = method.classifier.outputs(source) - method.classifier.outputs(np.full_like(source, 0.2))
    want = np.take_along_axis(outputs, TARGETS, axis=1)
    got = method(images, TARGETS).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(outputs).max())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive integer. Received: 0"),
        ({"baseline": np.zeros(5)}, r"`baseline` must be a number.*\(2, 12, 10, 3\). Received: shape \(5,\)"),
        ({"baseline": np.nan}, "`baseline` must be finite. Received: NaN"),
        ({"baseline": -np.inf}, "`baseline` must be finite. Received: NaN or infinite"),
    ],
)
def test_integrated_gradients_refuse(settings, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(two_layers("tanh"), **settings)(tiny_models.images())


def test_a_baseline_has_the_range_of_the_sources():
    """[0, 1] after an encoding, and 0..255 before a layer that divides by 255."""
    with pytest.raises(ValueError, match=r"`baseline` must be in \[0, 1\].* Received: values from 0 to 255"):
        IntegratedGradients(tiny_models.coda_net(), baseline=[0, 0, 0, 255, 255, 255])(tiny_models.images())
    stack = [layers.Rescaling(1 / 255), InputEncoding("channels_last"), SumPooling2D("channels_last")]
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *stack])
    images = 255 * tiny_models.images()
    got = IntegratedGradients(model, steps=1, baseline=100.0, input="image")(images, 1)
    np.testing.assert_allclose(got[..., 1], (images[..., 1] - 100) / 255, atol=1e-5)


# SmoothGrad.


def test_smooth_grad_is_the_mean_gradient_of_noisy_images():
    model, images = two_layers("tanh"), tiny_models.images()
    images[1] *= 10  # the noise follows the range of each image
    noise = np.random.default_rng(7).standard_normal((5, *IMAGE_SHAPE), "float32")
    deviation = np.array([0.3 * (image.max() - image.min()) for image in images])[:, None, None, None]
    want = np.mean([in_numpy(model, images + deviation * n, TARGETS, tanh_backward) for n in noise], axis=0)
    for batch_size in (3, 32):
        method = SmoothGrad(model, samples=5, noise=0.3, seed=7, batch_size=batch_size)
        np.testing.assert_allclose(method(images, TARGETS), want, atol=1e-6)
    # An image's map does not depend on the others.
    np.testing.assert_allclose(method(images[1:], TARGETS[1:])[0], want[1], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "`samples` must be a positive integer. Received: 0"),
        ({"noise": -0.1}, "`noise` must not be negative. Received: -0.1"),
    ],
)
def test_smooth_grad_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        SmoothGrad(two_layers("tanh"), **settings)


# Guided backpropagation.


RELUS = {
    "fused": "relu",
    "layer": layers.ReLU(),
    "activation layer": layers.Activation("relu"),
    "operation": keras.ops.relu,
    "activation function": keras.activations.relu,
    "layer in a layer": layers.Activation(layers.ReLU()),
    "maximum": lambda z: keras.ops.maximum(z, 0.0),
    "maximum, the other way round": lambda z: keras.ops.maximum(x1=0.0, x2=z),
    "leaky without a slope": layers.LeakyReLU(0.0),
    "clip": lambda z: keras.ops.clip(z, 0.0, np.inf),
    "Lambda": layers.Lambda(lambda z: keras.ops.maximum(z, 0.0), output_shape=lambda shape: shape),
}


def relu_of_the_backend():
    if keras.backend.backend() == "torch":
        return pytest.importorskip("torch").relu
    if keras.backend.backend() == "jax":
        return pytest.importorskip("jax").nn.relu
    return pytest.importorskip("tensorflow").nn.relu


FUSED_RELUS = {
    "layer": layers.ReLU,
    "Activation": lambda: layers.Activation("relu"),
    "the backend's": relu_of_the_backend,
    "a user's": lambda: lambda z: keras.ops.maximum(z, 0.0),
}


@pytest.mark.parametrize("form", RELUS)
def test_guided_backpropagation_of_two_layers(form):
    model, images = two_layers(RELUS[form]), tiny_models.images()
    want = in_numpy(model, images, TARGETS, lambda hidden, gradient: np.maximum(gradient, 0) * (hidden > 0))
    np.testing.assert_allclose(GuidedBackpropagation(model)(images, TARGETS), want, atol=1e-6)
    # Afterwards the model is as it was.
    plain = in_numpy(model, images, TARGETS, lambda hidden, gradient: gradient * (hidden > 0))
    assert np.abs(plain - want).max() > 0.01
    np.testing.assert_allclose(Gradient(model)(images, TARGETS), plain, atol=1e-6)


def test_guided_backpropagation_passes_nothing_at_zero():
    """As the gradient of ReLU; black pixels are 0."""
    flat = layers.Flatten(data_format="channels_last")
    model = draw_weights(keras.Sequential([keras.Input(IMAGE_SHAPE), layers.ReLU(), flat, layers.Dense(CLASSES)]))
    black = np.zeros((1, *IMAGE_SHAPE), "float32")
    np.testing.assert_array_equal(GuidedBackpropagation(model)(black, "all"), 0)


@pytest.mark.parametrize("form", FUSED_RELUS)
@pytest.mark.parametrize("place", ["argument", "Activation"])
def test_guided_backpropagation_knows_a_relu_by_what_it_computes(form, place):
    """In the place of an activation's name."""
    images, relu = tiny_models.images(), FUSED_RELUS[form]()
    model = two_layers("relu")
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Flatten(data_format="channels_last")(inputs)
    x = layers.Dense(8, activation=relu)(x) if place == "argument" else layers.Activation(relu)(layers.Dense(8)(x))
    other = draw_weights(keras.Model(inputs, layers.Dense(CLASSES)(x)), scale=0.2)
    want = in_numpy(model, images, TARGETS, lambda hidden, gradient: np.maximum(gradient, 0) * (hidden > 0))
    np.testing.assert_allclose(GuidedBackpropagation(other)(images, TARGETS), want, atol=1e-6)


class Hidden(keras.Model):
    """A network whose layers are seen by its `call` alone."""

    def __init__(self, activation):
        super().__init__()
        self.body = [layers.Flatten(), layers.Dense(4, activation=activation), layers.Dense(CLASSES)]

    def call(self, inputs):
        for layer in self.body:
            inputs = layer(inputs)
        return inputs


def test_guided_backpropagation_refuses_relus_that_it_does_not_reach():
    """Otherwise its map would be the plain gradient's."""
    inputs, images = keras.Input(IMAGE_SHAPE), tiny_models.images()
    with pytest.raises(ValueError, match=r"the ReLU of 'dense\w*' within the layer 'hidden\w*' \(Hidden\). Expected:"):
        GuidedBackpropagation(keras.Model(inputs, Hidden("relu")(inputs)))
    model = keras.Model(inputs, Hidden("tanh")(inputs))
    np.testing.assert_array_equal(GuidedBackpropagation(model)(images, TARGETS), Gradient(model)(images, TARGETS))


def test_guided_backpropagation_assigns_nothing_to_a_layer(monkeypatch):
    """Not even for a while: threads share the model."""
    model, images = two_layers("relu"), tiny_models.images()
    method = GuidedBackpropagation(model)
    assigned = []
    own = keras.layers.Layer.__setattr__

    def note(layer, name, value):
        if layer in model.layers:
            assigned.append((layer.name, name))
        own(layer, name, value)

    monkeypatch.setattr(keras.layers.Layer, "__setattr__", note)
    method(images, TARGETS)
    assert not [name for _, name in assigned if name in ("activation", "dtype_policy", "kernel")]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_guided_backpropagation_leaves_functions_along_an_axis(axis):
    inputs, images = keras.Input(IMAGE_SHAPE), tiny_models.images()
    flipped = layers.Lambda(lambda x: keras.ops.relu(keras.ops.flip(x, axis)), output_shape=IMAGE_SHAPE)(inputs)
    x = layers.Dense(CLASSES)(layers.Flatten(data_format="channels_last")(flipped))
    model = draw_weights(keras.Model(inputs, x))
    np.testing.assert_allclose(
        GuidedBackpropagation(model)(images, TARGETS), Gradient(model)(images, TARGETS), atol=1e-7
    )


@pytest.mark.one_backend
def test_guided_backpropagation_does_not_warn_of_a_softmax(recwarn):
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(inputs))
    GuidedBackpropagation(keras.Model(inputs, layers.Activation("softmax")(x)))
    assert not [warning for warning in recwarn if "softmax" in str(warning.message)]


@pytest.mark.parametrize(
    "activation", ["tanh", layers.ReLU(max_value=1.0), layers.LeakyReLU(0.2), layers.ReLU(threshold=0.01)]
)
def test_guided_backpropagation_leaves_other_nonlinearities(activation):
    model, images = two_layers(activation), tiny_models.images()
    want = Gradient(model)(images, TARGETS)
    np.testing.assert_allclose(GuidedBackpropagation(model)(images, TARGETS), want, atol=1e-7)
