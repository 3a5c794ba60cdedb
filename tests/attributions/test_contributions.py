"""Contributions under the interface of the attributions."""

import keras
import numpy as np
import pytest
import tiny_models

import keras_coda
from keras_coda.attributions import Contributions, InputXGradient

TARGETS = np.array([[1, 3, 0], [2, 2, 1]])


@pytest.fixture(scope="module")
def coda_net():
    """One network and its compiled method for several tests."""
    model = tiny_models.coda_net()
    return model, Contributions(model)


def test_are_those_of_the_explainer_and_sum_to_the_logit(coda_net):
    (model, method), images = coda_net, tiny_models.images()
    explanation = model.explain(images, TARGETS)
    got = method(images, TARGETS)
    np.testing.assert_allclose(got, explanation.contributions, atol=1e-6)
    np.testing.assert_allclose(method.maps(images, TARGETS), explanation.contribution_map, atol=1e-6)
    logits = np.take_along_axis(model.predict(images, verbose=0), TARGETS, axis=1)
    np.testing.assert_allclose(got.sum((2, 3, 4)) + explanation.bias, logits, rtol=1e-4)


def test_as_many_images_at_once_as_asked_for(coda_net, monkeypatch):
    method, sizes = coda_net[1], []
    explain = method._explainer.explain
    monkeypatch.setattr(method, "batch_size", 1)
    monkeypatch.setattr(method._explainer, "explain", lambda *args: sizes.append(args[2]) or explain(*args))
    assert method(tiny_models.images()).shape == (2, 12, 10, 6)
    assert sizes == [1]


def test_of_a_linear_model_are_its_input_times_gradient():
    model, images = tiny_models.linear(), tiny_models.images()
    np.testing.assert_allclose(
        Contributions(model)(images, TARGETS), InputXGradient(model)(images, TARGETS), rtol=1e-5, atol=1e-7
    )


def test_one_target_and_integers(coda_net):
    (model, method), images = coda_net, tiny_models.images()
    integers = np.round(255 * images).astype("uint8")
    predicted = model.predict(images, verbose=0).argmax(-1)
    got = method(integers)
    assert got.shape == (2, 12, 10, 6)
    np.testing.assert_allclose(got, method(integers / np.float32(255), predicted), atol=1e-6)


def test_a_model_that_is_not_dynamic_linear_is_refused_by_name():
    with pytest.raises(keras_coda.NotDynamicLinearError, match=r"conv2d.*relu"):
        Contributions(tiny_models.cnn())(tiny_models.images(), 0)


def test_a_model_of_any_size_that_needs_many_pixels(rng):
    stack = [
        keras_coda.layers.InputEncoding("channels_last"),
        *(keras_coda.DAUConv2D(2, 9, 1, strides=4, padding="valid", data_format="channels_last") for _ in range(3)),
        keras_coda.layers.SumPooling2D("channels_last"),
    ]
    model, images = keras.Sequential([keras.Input((None, None, 3)), *stack]), rng.random((1, 192, 192, 3), "float32")
    explanation = keras_coda.explain(model, images)
    np.testing.assert_allclose(Contributions(model)(images), explanation.contributions, atol=1e-6)
