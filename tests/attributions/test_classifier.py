"""A model as attributions see it: its source, outputs and probabilities; and batches of other sizes."""

import keras
import numpy as np
import pytest
import reference
import tiny_models
from keras import layers
from small_models import LOGIT_BIAS, TEMPERATURE
from tiny_models import CLASSES, IMAGE_SHAPE, draw_weights

import keras_coda
from keras_coda.attributions import RISE, Classifier, DeepLIFT, GradCAM, Gradient
from keras_coda.layers import InputEncoding, LogitScaling


def test_coda_net_starts_at_its_encoding():
    model, images = tiny_models.coda_net(), tiny_models.images()
    classifier = Classifier(model)
    source = classifier.source(images)
    np.testing.assert_allclose(source, reference.encode(images), atol=1e-6)
    assert source.shape[1:] == (12, 10, 6)
    assert classifier.classes == CLASSES
    summed, _ = reference.coda_net(images, reference.layers_of(model))
    outputs = classifier.outputs(source, batch_size=1)
    np.testing.assert_allclose(outputs, summed / TEMPERATURE + LOGIT_BIAS, rtol=1e-4)
    np.testing.assert_allclose(classifier.probabilities(outputs), 1 / (1 + np.exp(-outputs)), rtol=1e-5)
    np.testing.assert_array_equal(
        classifier.source((255 * images).astype("uint8")),
        classifier.source((255 * images).astype("uint8").astype("float32") / np.float32(255)),
    )


def test_other_models_start_at_their_images():
    model, images = tiny_models.cnn(), 100 * tiny_models.images()
    classifier = Classifier(model)
    np.testing.assert_array_equal(classifier.source(images), images)
    assert classifier.source((images).astype("uint8")).dtype == "float32"
    outputs = classifier.outputs(images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), rtol=1e-4)
    exponentials = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    want = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(classifier.probabilities(outputs), want, atol=1e-6)


def with_last(*last):
    return keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(data_format="channels_last"), *last])


PROBABILITIES = {
    "softmax": lambda: with_last(layers.Dense(2, activation="softmax")),
    "sigmoid": lambda: with_last(layers.Dense(2, activation="sigmoid")),
    "Softmax": lambda: with_last(layers.Dense(2), layers.Softmax()),
    "Activation": lambda: with_last(layers.Dense(2), layers.Activation("sigmoid")),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_outputs_that_are_probabilities_stay_so(name):
    outputs = np.array([[0.3, 0.7]], "float32")
    np.testing.assert_array_equal(Classifier(PROBABILITIES[name]()).probabilities(outputs), outputs)


def test_activation_of_choice():
    outputs = np.array([[0.0, 2.0]], "float32")
    got = Classifier(with_last(layers.Dense(2)), activation="sigmoid").probabilities(outputs)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-outputs)), rtol=1e-6)


def test_one_logit_has_the_sigmoid():
    assert Classifier(with_last(layers.Dense(1))).activation is keras.activations.sigmoid


def test_axes_follow_the_data_format():
    first = Classifier(tiny_models.linear("channels_first"))
    assert (first.data_format, first.channel_axis, first.pixel_axes) == ("channels_first", -3, (-2, -1))
    inner = tiny_models.linear("channels_first")
    inputs = keras.Input((3, 12, 10))
    assert Classifier(keras.Model(inputs, inner(inputs))).data_format == "channels_first"
    last = Classifier(tiny_models.linear())
    assert (last.data_format, last.channel_axis, last.pixel_axes) == ("channels_last", -1, (-3, -2))


def any_size():
    stack = [
        keras.Input((None, None, 3)),
        layers.Conv2D(4, 3, activation="relu", data_format="channels_last"),
        layers.MaxPooling2D(2, padding="same", data_format="channels_last"),
        layers.Conv2D(4, 2, activation="relu", data_format="channels_last"),
        layers.GlobalMaxPooling2D(data_format="channels_last"),
        layers.Dense(CLASSES),
    ]
    return draw_weights(keras.Sequential(stack))


@pytest.mark.parametrize("method", [Gradient, GradCAM, DeepLIFT])
def test_images_of_any_size(method):
    """One method takes one size after the other."""
    model, images = any_size(), tiny_models.images()
    method = method(model)
    for size in (12, 9, 7):
        got = method(images[:, :size], "all")
        assert got.shape[:4] == (2, CLASSES, size, 10)
        np.testing.assert_allclose(got, type(method)(model)(images[:, :size], "all"), atol=1e-6)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_refuses_batch_sizes(batch_size):
    with pytest.raises(ValueError, match=f"`batch_size` must be a positive integer. Received: {batch_size}"):
        Gradient(tiny_models.linear(), batch_size=batch_size)


def test_refuses_images_of_another_range():
    classifier = Classifier(
        draw_weights(
            keras.Sequential(
                [
                    keras.Input(IMAGE_SHAPE),
                    InputEncoding(data_format="channels_last"),
                    layers.Flatten(),
                    layers.Dense(2),
                ]
            )
        )
    )
    with pytest.raises(ValueError, match=r"floats in \[0, 1\].*Received: float32 images with values from .* to 2"):
        classifier.source(np.full((1, *IMAGE_SHAPE), 2.0, "float32"))


def encoded(before, shape=IMAGE_SHAPE):
    """A model with something before its encoding."""
    inputs = keras.Input(shape)
    x = layers.Flatten(data_format="channels_last")(InputEncoding("channels_last")(before(inputs)))
    return draw_weights(keras.Model(inputs, layers.Dense(2)(x)))


@pytest.mark.parametrize("input", ["encoded", "image"])
@pytest.mark.parametrize(
    "before",
    [lambda x: x * 0.5 + 0.25, lambda x: keras.ops.flip(x, axis=2), layers.Resizing(5, 6)],
    ids=["scaled", "flipped", "resized"],
)
def test_what_comes_before_the_encoding_is_part_of_the_model(before, input):
    model, images = encoded(before), tiny_models.images()
    classifier = Classifier(model, input=input)
    source = classifier.source(images)
    np.testing.assert_allclose(classifier.outputs(source), model.predict(images, verbose=0), atol=1e-5)
    if input == "image":
        np.testing.assert_array_equal(source, images)


@pytest.mark.parametrize("input", ["encoded", "image"])
@pytest.mark.parametrize("before", [[], [layers.Resizing(12, 10)]], ids=["first", "resized"])
def test_layers_that_belong_to_another_model_as_well(before, input):
    other, images = tiny_models.coda_net(), tiny_models.images()
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *before, *other.layers[1:]])
    classifier = Classifier(model, input=input)
    np.testing.assert_allclose(
        classifier.outputs(classifier.source(images)), other.predict(images, verbose=0), atol=1e-5
    )


def wrapped(make):
    inputs = keras.Input(IMAGE_SHAPE)
    return keras.Model(inputs, make()(inputs))


SAME_PROBABILITIES = {
    "operation": (lambda: keras.ops.softmax, "linear"),
    "reshaped": (lambda: lambda x: keras.ops.reshape(layers.Softmax()(x), (-1, 2)), "linear"),
    "cast": (lambda: lambda x: layers.Activation("linear", dtype="float64")(keras.ops.sigmoid(x)), "linear"),
    "a layer as activation": (lambda: layers.Activation(layers.Softmax()), "linear"),
    "hard sigmoid": (lambda: layers.Activation("hard_sigmoid"), "linear"),
    "logits": (lambda: layers.Identity(), "softmax"),
}


@pytest.mark.parametrize("name", SAME_PROBABILITIES)
def test_probabilities_are_told_by_the_last_operation_that_computes(name):
    make, want = SAME_PROBABILITIES[name]
    inputs = keras.Input(IMAGE_SHAPE)
    inner = keras.Model(inputs, make()(layers.Dense(2)(layers.Flatten(data_format="channels_last")(inputs))))
    for model in (inner, wrapped(lambda: inner)):
        assert Classifier(model).activation is keras.activations.get(want)


@pytest.mark.parametrize("join", [layers.Average, layers.Concatenate])
@pytest.mark.parametrize(
    ("heads", "want"),
    [
        ([lambda: layers.Dense(2, activation="softmax")] * 2, "linear"),
        ([lambda: layers.Dense(2)] * 2, "softmax"),
        ([lambda: LogitScaling(3.0)] * 2, "sigmoid"),
        ([lambda: layers.Dense(108, activation="sigmoid"), lambda: LogitScaling(3.0)], "softmax"),
    ],
)
def test_several_heads_have_the_function_that_all_have(join, heads, want):
    inputs = keras.Input((6, 6, 3))
    x = layers.Flatten(data_format="channels_last")(inputs)
    classifier = Classifier(keras.Model(inputs, join()([make()(x) for make in heads])))
    assert classifier.activation is keras.activations.get(want)


def sigmoids(inputs):
    return keras.ops.maximum(layers.Dense(2, activation="sigmoid")(layers.Flatten()(inputs)), 0.1)


def exponentials(inputs):
    x = keras.ops.exp(layers.Dense(2)(layers.Flatten(data_format="channels_last")(inputs)))
    return x / keras.ops.sum(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("make", [sigmoids, exponentials])
def test_probabilities_get_no_second_softmax(make):
    """Where the last operation does not tell, the outputs do."""
    inputs, images = keras.Input(IMAGE_SHAPE), tiny_models.images()
    model = keras.Model(inputs, make(inputs))
    outputs = model.predict(images, verbose=0)
    message = r"lie in \[0, 1\]: they may be probabilities already, .* Expected: logits, or a `Classifier\(model, act"
    with pytest.raises(ValueError, match=message):
        Classifier(model).probabilities(outputs)
    build, arguments = Classifier(model).__reduce__()  # as a copy or a pickle is made
    with pytest.raises(ValueError, match=message):
        build(*arguments).probabilities(outputs)
    with pytest.raises(ValueError, match=message):
        RISE(model, masks=2)(images, 1)
    np.testing.assert_array_equal(Classifier(model, "linear").probabilities(outputs), outputs)
    logits = np.array([[0.5, -0.5], [0.5, 1.5]], "float32")  # not all of them in [0, 1]
    np.testing.assert_allclose(Classifier(model).probabilities(logits)[0] @ [1, -np.e], 0, atol=1e-6)
    assert RISE(model, masks=2, activation="linear")(images, 1).shape == (2, 12, 10)


def twice(inputs):
    encoding = InputEncoding(data_format="channels_last")
    return encoding(inputs) + encoding(keras.ops.flip(inputs, 2))


def around(inputs):
    return keras.ops.concatenate([InputEncoding(data_format="channels_last")(inputs), inputs], axis=-1)


@pytest.mark.parametrize("make", [twice, around])
def test_a_path_around_the_encoding_is_refused(make):
    inputs = keras.Input(IMAGE_SHAPE)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D(data_format="channels_last")(make(inputs)))
    with pytest.raises(ValueError, match="does not pass its images through one `InputEncoding`, once"):
        Gradient(model)


def test_a_wrapped_coda_net_has_its_own_probabilities():
    assert Classifier(wrapped(tiny_models.coda_net)).activation is keras.activations.sigmoid


def test_axes_follow_a_permutation():
    inputs = keras.Input((3, 12, 10))
    x = layers.Conv2D(2, 3, data_format="channels_last")(layers.Permute((2, 3, 1))(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D(data_format="channels_last")(x))
    assert Classifier(model).data_format == "channels_first"
    assert Gradient(model).maps(np.ones((1, 3, 12, 10), "float32"), 0).shape == (1, 12, 10)


def test_a_model_with_a_call_of_its_own_is_refused():
    class Own(keras.Model):
        def call(self, inputs, **kwargs):
            return super().call(inputs / 2, **kwargs)

    inner = tiny_models.cnn()
    with pytest.raises(ValueError, match=r"\(Own\) has its own `call`"):
        Classifier(Own(inner.inputs, inner.outputs))


@pytest.mark.parametrize(("method", "target"), [(RISE, None), (RISE, 1), (Gradient, None)])
def test_outputs_that_are_not_finite_are_an_error(method, target):
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.GlobalAveragePooling2D(data_format="channels_last")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(x / 0.0))
    with pytest.raises(ValueError, match=r"outputs of model .* are NaN or infinite"):
        method(model)(tiny_models.images(), target)


def test_outputs_follow_the_settings_of_layers():
    """Before the encoding and after it. A program is compiled with those of its first call."""
    inputs = keras.Input((4, 4, 1))
    before, after = keras.layers.Rescaling(0.5), keras.layers.Rescaling(3.0)
    x = after(keras_coda.layers.InputEncoding()(before(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    classifier, images = Classifier(model), np.full((2, 4, 4, 1), 0.25, "float32")
    for layer in (None, before, after):
        if layer is not None:
            layer.scale = 2.0
        want = keras.ops.convert_to_numpy(model(images, training=False))
        np.testing.assert_allclose(classifier.outputs(classifier.source(images)), want, rtol=1e-5, atol=1e-6)


def test_any_number_of_images_of_a_model_with_a_fixed_one():
    model = keras.Sequential([keras.Input(batch_shape=(4, 5, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    images = np.random.default_rng(0).random((3, 5, 6, 3), dtype="float32")
    classifier = Classifier(model)
    np.testing.assert_array_equal(classifier.outputs(classifier.source(images)), model.predict(images, verbose=0))


def test_fractions_for_a_model_of_integers_are_an_error():
    """Keras' `predict` would round them to black."""
    model = keras.Sequential([keras.Input(IMAGE_SHAPE, dtype="uint8"), tiny_models.coda_net()])
    for explained in (lambda images: keras_coda.explain(model, images), Gradient(model)):
        with pytest.raises(ValueError, match=r"takes images of uint8\. Received: float32 ones"):
            explained(tiny_models.images())
