"""Every method on models that are not ours, and what no method takes."""

import keras
import numpy as np
import pytest
import tiny_models
from keras import layers

import keras_coda
from keras_coda.attributions import published

METHODS = published("cifar10")
SMALLER = {
    "rise": {"masks": 6},
    "lime_1": {"samples": 6},
    "lime_4": {"samples": 6},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "occlusion_5": {"stride": 5},
    "occlusion_9": {"stride": 9},
}
POST_HOC = sorted(set(METHODS) - {"contributions"})


def make(name, model, **settings):
    return METHODS[name](model, batch_size=4, **SMALLER.get(name, {}), **settings)


# Compiling gradients of these takes long: one method of each kind, and DeepLIFT, whose every rule is tested on small
# networks, where nothing is compiled.
OF_LARGE_MODELS = [
    pytest.param("deep_lift", marks=pytest.mark.one_backend),
    "grad_cam",
    "guided_backpropagation",
    "input_x_gradient",
    "lime_1",
    "occlusion_9",
]


@pytest.fixture(scope="module", params=["EfficientNetB0", pytest.param("ResNet50", marks=pytest.mark.one_backend)])
def application(request):
    build = getattr(keras.applications, request.param)
    return build(weights=None, input_shape=(32, 32, 3), classes=5, classifier_activation=None)


@pytest.mark.parametrize("name", OF_LARGE_MODELS)
def test_applications_of_keras(application, name):
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")
    got = make(name, application)(images, np.array([[4, 1], [0, 2]]))
    assert got.shape[:4] == (2, 2, 32, 32)
    assert np.isfinite(got).all()
    assert got.any()


@pytest.fixture(scope="module")
def residual():
    """Branches that are added, multiplied and concatenated, a nested model, normalisation and operations of Keras."""
    rng = np.random.default_rng(0)
    block_input = keras.Input((12, 10, 4))
    x = layers.Conv2D(4, 3, padding="same", data_format="channels_last")(block_input)
    x = layers.BatchNormalization()(x)
    block = keras.Model(block_input, layers.ReLU()(layers.Add()([x, block_input])))
    inputs = keras.Input(tiny_models.IMAGE_SHAPE)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", data_format="channels_last")(2.0 * inputs - 1.0)
    x = block(block(x))
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(data_format="channels_last")(x))
    x = layers.Concatenate()([layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)]), keras.ops.tanh(x)])
    x = layers.Conv2D(5, 3, strides=2, data_format="channels_last")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_last")(keras.ops.relu(x))
    model = keras.Model(inputs, layers.Dense(tiny_models.CLASSES)(x))
    model.set_weights([np.abs(rng.normal(size=w.shape)) / w.shape[-1] + 0.1 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("name", POST_HOC)
def test_residual_branches(residual, name):
    got = make(name, residual)(tiny_models.images(), "all")
    assert got.shape[:4] == (2, tiny_models.CLASSES, 12, 10)
    assert np.isfinite(got).all()
    assert got.any()


def test_contributions_are_for_chains_alone(residual):
    with pytest.raises(keras_coda.NotDynamicLinearError, match="Expected"):
        make("contributions", residual)


def two_inputs():
    images, number = keras.Input((8, 8, 3)), keras.Input((2,))
    return keras.Model([images, number], layers.Dense(3)(layers.Concatenate()([layers.Flatten()(images), number])))


def two_heads():
    images = keras.Input((8, 8, 3))
    flat = layers.Flatten()(images)
    return keras.Model(images, [layers.Dense(3)(flat), layers.Dense(2)(flat)])


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs[:, 0, 0]


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model


UNFIT = {
    "two inputs": (two_inputs, "several inputs.*with 2 inputs and 1 outputs"),
    "two heads": (two_heads, "several outputs.*with 1 inputs and 2 outputs"),
    "subclassed": (subclassed, "Expected a built Sequential or Functional Keras model.*Received: <Subclassed"),
    "not built": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(2)]), "Expected a built.*<Sequential"),
    "maps": (lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 1)]), r"return \(N, classes\)"),
}


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("reason", UNFIT)
def test_models_of_another_form_are_refused(reason, name):
    build, message = UNFIT[reason]
    with pytest.raises(ValueError, match=message):
        make(name, build())


def test_one_head_of_two_is_explained():
    model = two_heads()
    images = np.random.default_rng(0).random((2, 8, 8, 3), dtype="float32")
    one = keras.Model(model.inputs, model.outputs[1])
    got = make("input_x_gradient", one).maps(images, "all")
    kernel = one.layers[-1].get_weights()[0].reshape(8, 8, 3, 2)
    np.testing.assert_allclose(got, np.einsum("nhwc,hwck->nkhw", images, kernel), atol=1e-5)


def with_nan(images):
    images[1, 2, 3, 0] = np.nan
    return images


BAD_CALLS = {
    "size": (lambda images: (images[:, :8], 0), r"takes inputs.*\(None, 12, 10, 3\).*Received: shape \(2, 8, 10, 3\)"),
    "one image": (
        lambda images: (images[0], 0),
        r"takes inputs of .*Received: shape \(12, 10, 3\)",
    ),
    "no images": (lambda images: (images[:0], 0), r"at least one image. Received: shape \(0, 12, 10, 3\)"),
    "NaN": (lambda images: (with_nan(images), 0), "(?i)images.*Received:.*nan"),
    "target": (lambda images: (images, 4), "out of range: expected indices from 0 to 3. Received: 4"),
    "negative target": (lambda images: (images, [0, -1]), "out of range: expected indices from 0 to 3. Received: -1"),
    "targets of others": (lambda images: (images, [0, 1, 2]), r"each of the 2 images.*shape \(3,\)"),
    "target as float": (lambda images: (images, 1.5), "integers. Received: an array of float64"),
}


@pytest.fixture(scope="module")
def every_method():
    model = tiny_models.coda_net()
    return {name: make(name, model) for name in METHODS}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_bad_calls(every_method, name):
    for arguments, message in BAD_CALLS.values():
        with pytest.raises(ValueError, match=message):
            every_method[name](*arguments(tiny_models.images()))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_coda_nets_take_the_unit_range_or_integers(every_method, name):
    images = tiny_models.images()
    with pytest.raises(ValueError, match=r"Images must be floats in \[0, 1\].*Received: float32 images with values"):
        every_method[name](255 * images, 0)


def test_images_with_nan_are_refused_by_models_without_an_encoding():
    with pytest.raises(ValueError, match=r"Images must be finite. Received: images with NaN"):
        make("gradient", tiny_models.linear())(with_nan(tiny_models.images()), 0)


@pytest.mark.one_backend
@pytest.mark.parametrize("name", sorted(METHODS))
def test_images_are_not_rounded_to_keras_policy_of_the_moment(every_method, name, low_precision):
    images = tiny_models.images()
    want = every_method[name](images, 1)
    with low_precision():
        got = make(name, every_method[name].classifier.model)(images, 1)
    np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())
