"""Explanations and attributions are of the model as it predicts, and change nothing of it."""

import functools

import keras
import numpy as np
import pytest
import tiny_models
from keras import layers
from tiny_models import CLASSES, IMAGE_SHAPE, draw_weights

import keras_coda
from keras_coda import DAUConv2D, attributions, metrics
from keras_coda.attributions import Classifier
from keras_coda.layers import InputEncoding, SumPooling2D


def functional(*stack, dtype="float32"):
    x = inputs = keras.Input(IMAGE_SHAPE, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


def sequential(*stack, dtype="float32"):
    return keras.Sequential([keras.Input(IMAGE_SHAPE, dtype=dtype), *stack])


def convolutions():
    return [
        layers.Conv2D(5, 3, activation="relu", data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(CLASSES),
    ]


def dynamic():
    return [
        InputEncoding("channels_last"),
        DAUConv2D(CLASSES, 3, rank=2, padding="symmetric", data_format="channels_last"),
        SumPooling2D("channels_last"),
    ]


def shift():
    return layers.RandomTranslation(0.4, 0.4, fill_mode="constant", data_format="channels_last")


METHODS = {
    "gradient": attributions.Gradient,
    "grad_cam": attributions.GradCAM,
    "deep_lift": attributions.DeepLIFT,
    "guided": attributions.GuidedBackpropagation,
    "occlusion": lambda model: attributions.Occlusion(model, patch=4, stride=4),
    "rise": lambda model: attributions.RISE(model, masks=5),
}


@pytest.mark.parametrize("make", [functional, sequential])
def test_layers_of_augmentation_do_nothing(make):
    """Keras records `training=True` for them, and `predict` does not heed it."""
    stack, images = convolutions(), tiny_models.images()
    plain = draw_weights(make(*stack))
    augmented = make(shift(), *stack)
    np.testing.assert_array_equal(augmented.predict(images, verbose=0), plain.predict(images, verbose=0))
    for method in METHODS.values():
        want = method(plain).maps(images, 1)
        np.testing.assert_allclose(method(augmented).maps(images, 1), want, atol=1e-5 * np.abs(want).max())
    curves = [metrics.pixel_removal(m, images, [1, 1], images[..., 0], points=2) for m in (plain, augmented)]
    np.testing.assert_allclose(*curves, rtol=1e-5)


@pytest.mark.parametrize("make", [functional, sequential])
def test_explanations_are_of_what_the_model_predicts(make):
    images = tiny_models.images()
    model = draw_weights(make(shift(), layers.Resizing(8, 8, data_format="channels_last"), *dynamic()))
    explanation = keras_coda.explain(model, images)
    logits = model.predict(images, verbose=0)
    np.testing.assert_allclose(explanation.logits, logits, atol=1e-5 * np.abs(logits).max())
    assert explanation.relative_residual.max() < 1e-5


@pytest.mark.parametrize("nested", [False, True])
def test_a_recorded_training_is_not_heeded(rng, nested):
    """Of a layer, and of a nested model, such as a pretrained backbone."""
    inputs, layer = keras.Input(IMAGE_SHAPE), layers.BatchNormalization()
    x = (keras.Sequential([keras.Input(IMAGE_SHAPE), layer]) if nested else layer)(inputs, training=True)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten(data_format="channels_last")(x)))
    model.set_weights([rng.uniform(0.5, 1.5, weights.shape) for weights in model.get_weights()])
    images = tiny_models.images()
    np.testing.assert_allclose(keras_coda.explain(model, images).logits, model.predict(images, verbose=0), rtol=1e-5)


def scaled():
    return [layers.Rescaling(1 / 255), *convolutions()]


@pytest.mark.parametrize("stack", [scaled, dynamic])
def test_models_of_integer_images(stack):
    """As the same model of floats in 0..255, or, with an encoding, in [0, 1]."""
    stack, images = stack(), tiny_models.images()
    integers = (255 * images).astype("uint8")
    model = draw_weights(sequential(*stack, dtype="uint8"))
    floats = integers.astype("float32") / (255 if isinstance(stack[0], InputEncoding) else 1)
    twin = sequential(*stack)
    want = model.predict(integers, verbose=0)
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.outputs(classifier.source(integers)), want, atol=1e-5 * np.abs(want).max())
    for method in (attributions.IntegratedGradients, METHODS["rise"]):
        expected = method(twin)(floats, 1)
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(method(model)(integers, 1), expected, atol=1e-5 * np.abs(expected).max())


def test_integers_that_are_flipped_before_the_encoding():
    inputs = keras.Input(IMAGE_SHAPE, dtype="uint8")
    x = keras.ops.flip(inputs, axis=1)
    for layer in dynamic():
        x = layer(x)
    model = draw_weights(keras.Model(inputs, x))
    integers = (255 * tiny_models.images()).astype("uint8")
    classifier, want = Classifier(model), model.predict(integers, verbose=0)
    np.testing.assert_allclose(classifier.outputs(classifier.source(integers)), want, atol=1e-5 * np.abs(want).max())
    with pytest.raises(ValueError, match=r"divides integer images after other layers.*Received: uint8 images"):
        Classifier(model, input="image").source(integers)


def test_one_logit_has_a_sigmoid():
    model = draw_weights(sequential(layers.Flatten(data_format="channels_last"), layers.Dense(1)))
    classifier, outputs = Classifier(model), np.array([[0.0], [2.0]], "float32")
    np.testing.assert_allclose(classifier.probabilities(outputs), 1 / (1 + np.exp(-outputs)), rtol=1e-6)


def test_a_wrapped_coda_net_starts_at_its_encoding():
    inner, images = tiny_models.coda_net(), tiny_models.images()
    inputs = keras.Input(IMAGE_SHAPE)
    model = keras.Model(inputs, inner(inputs))
    want = attributions.InputXGradient(inner)(images, 1)
    np.testing.assert_allclose(attributions.InputXGradient(model)(images, 1), want, atol=1e-5 * np.abs(want).max())
    np.testing.assert_array_equal(Classifier(model).source(images), Classifier(inner).source(images))


def test_nothing_is_recorded_at_the_models_layers():
    model, images = tiny_models.cnn(), tiny_models.images()
    before = [len(layer._inbound_nodes) for layer in model.layers]
    for method in METHODS.values():
        method(model)(images, 0)
    metrics.pixel_removal(model, images, [1, 1], images[..., 0], points=2)
    assert [len(layer._inbound_nodes) for layer in model.layers] == before


def test_an_error_leaves_the_model_its_weights():
    """Keras on JAX takes the weights out of a model while it predicts."""
    layer, images = layers.Conv2D(3, 3, padding="same", data_format="channels_last"), tiny_models.images()
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.GlobalAveragePooling2D(data_format="channels_last")(layer(layer(inputs)))
    model = draw_weights(keras.Model(inputs, x))
    want = model.predict(images, verbose=0)
    with pytest.raises(ValueError, match="used once"):
        attributions.GradCAM(model, layer)(images, 0)
    np.testing.assert_array_equal(model.predict(images, verbose=0), want)


class Interrupted(keras.utils.PyDataset):
    """Sources of which the second batch is interrupted, as by Ctrl-C."""

    def __init__(self, source):
        super().__init__()
        self.source = source

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            raise KeyboardInterrupt
        return (self.source,)


def test_an_interruption_leaves_the_model_its_weights():
    model, images = tiny_models.cnn(), tiny_models.images()
    want = model.predict(images, verbose=0)
    classifier = Classifier(model)
    # TensorFlow makes another error of it.
    with pytest.raises(BaseException):  # noqa: B017, PT011
        classifier.outputs(Interrupted(classifier.source(images)))
    np.testing.assert_array_equal(model.predict(images, verbose=0), want)


def test_layers_of_augmentation_do_not_tell_the_channel_axis():
    stack = [
        layers.RandomBrightness(0.2),
        InputEncoding("channels_first"),
        DAUConv2D(CLASSES, 3, rank=2, data_format="channels_first"),
        SumPooling2D("channels_first"),
    ]
    model = draw_weights(keras.Sequential([keras.Input((3, 12, 10)), *stack]))
    images = np.moveaxis(tiny_models.images(), -1, 1)
    assert keras_coda.explain(model, images).contribution_map.shape == (2, 12, 10)
    assert [Classifier(model, input=input).data_format for input in ("encoded", "image")] == ["channels_first"] * 2


@pytest.mark.parametrize("make", [functional, sequential])
def test_padding_with_a_value_is_refused(make):
    encoding, *others = dynamic()
    resize = layers.Resizing(8, 12, pad_to_aspect_ratio=True, fill_value=1.0, data_format="channels_last")
    with pytest.raises(keras_coda.NotDynamicLinearError, match=r"fill_value=1\.0"):
        keras_coda.explain(make(encoding, resize, *others), tiny_models.images())


def test_one_of_several_results_before_the_encoding():
    inputs = keras.Input((12, 20, 3))
    _, x = keras.ops.split(inputs, 2, axis=2)
    for layer in dynamic():
        x = layer(x)
    model, images = draw_weights(keras.Model(inputs, x)), np.random.default_rng(0).random((2, 12, 20, 3), "float32")
    classifier, want = Classifier(model), model.predict(images, verbose=0)
    assert classifier.source(images).shape == (2, 12, 10, 6)
    np.testing.assert_allclose(classifier.outputs(classifier.source(images)), want, atol=1e-5 * np.abs(want).max())


class Doubled(layers.Layer):
    """A user's own layer, whose `compute_output_spec` does not take the `training` of its `call`."""

    def call(self, inputs, training=None):
        return inputs * (1 if training else 2)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def linear_map(self, inputs):
        return 2 * inputs, keras_coda.LinearMap(lambda v: 2 * v, lambda u: 2 * u)


def test_a_users_layer_with_its_own_output_spec():
    encoding, *others = dynamic()
    model, images = draw_weights(functional(encoding, Doubled(), *others)), tiny_models.images()
    explanation = keras_coda.explain(model, images)
    np.testing.assert_allclose(explanation.logits, model.predict(images, verbose=0), rtol=1e-5)


@pytest.mark.parametrize("activation", [lambda x: x, functools.partial(keras.ops.softmax, axis=-1)])
def test_functions_of_users_as_activations(activation, tmp_path):
    model, images = tiny_models.cnn(), tiny_models.images()
    methods = {"rise": functools.partial(attributions.RISE, masks=2, activation=activation)}
    settings = {"metrics": ("deletion",), "removed": 2, "points": 2, "verbose": 0}
    for _ in range(2):  # the second time it continues
        results = metrics.measure(Classifier(model, activation), images, [0, 1], methods, tmp_path, **settings)
    assert len(results.table)
