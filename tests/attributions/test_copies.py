"""Methods are copied and pickled with their settings, and used by several threads."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_models

from keras_coda import attributions

METHODS = {
    "Gradient": {},
    "InputXGradient": {},
    "GuidedBackpropagation": {},
    "IntegratedGradients": {"steps": 3, "baseline": 0.5},
    "SmoothGrad": {"samples": 2},
    "GradCAM": {},
    "DeepLIFT": {},
    "Occlusion": {"patch": 4, "stride": 4},
    "RISE": {"masks": 4},
    "LIME": {"samples": 8},
}


@pytest.fixture(scope="module")
def model():
    return tiny_models.cnn()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda method: pickle.loads(pickle.dumps(method))])
@pytest.mark.parametrize("name", ["GradCAM", "SmoothGrad"])
def test_a_copy_has_the_same_settings_and_its_own_model(model, name, how):
    method = getattr(attributions, name)(model, **METHODS[name])
    if name == "GradCAM":
        method = attributions.GradCAM(model, model.layers[0], interpolation="nearest")
    method.batch_size = 3
    copied = how(method)
    assert type(copied) is type(method)
    assert copied.batch_size == 3
    assert copied.classifier.model is not model
    images = tiny_models.images()
    np.testing.assert_allclose(copied(images, 1), method(images, 1), atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_pickled(model, name):
    method = getattr(attributions, name)(model, **METHODS[name])
    settings = [key for key in vars(method) if key[0] != "_" and key not in ("classifier", "layer")]
    copied = pickle.loads(pickle.dumps(method))
    assert {key: getattr(copied, key) for key in settings} == {key: getattr(method, key) for key in settings}


def test_eight_threads(model):
    """Each with a method of its own on one model: what one thread gets, and the model as it was."""
    images = tiny_models.images()
    names = [
        "Gradient",
        "GuidedBackpropagation",
        "IntegratedGradients",
        "GradCAM",
        "Occlusion",
        "GuidedBackpropagation",
    ]
    make = {name: lambda name=name: getattr(attributions, name)(model, **METHODS[name])(images, 1) for name in names}
    want = {name: make[name]() for name in set(names)}
    weights = [weight.copy() for weight in model.get_weights()]
    activations = [getattr(layer, "activation", None) for layer in model.layers]
    with ThreadPoolExecutor(8) as threads:
        results = [(name, threads.submit(make[name])) for name in (*names, "Gradient", "GuidedBackpropagation")]
        for name, result in results:
            np.testing.assert_allclose(result.result(), want[name], atol=1e-6)
    assert [getattr(layer, "activation", None) for layer in model.layers] == activations
    for got, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(got, expected)
