"""Methods are copied and pickled with their settings, and used by several threads."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tiny_models

import keras_coda
from keras_coda import attributions

METHODS = {
    "Gradient": {},
    "InputXGradient": {},
    "Saliency": {},
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


def test_a_method_follows_the_model():
    """Activations and layers that are set later, which compiled graphs do not see."""
    model, images = tiny_models.cnn(), tiny_models.images()
    method = attributions.GuidedBackpropagation(model)
    method.batch_size = 1
    before, pull_back = method(images, 1), method._pull_back
    assert method(images, 1) is not None
    assert method._pull_back is pull_back  # compiled once, as long as nothing is changed
    model.layers[0].activation = keras.activations.tanh
    after = method(images, 1)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, attributions.GuidedBackpropagation(model)(images, 1), atol=1e-6)
    assert method.batch_size == 1


def explained(dtype, **settings):
    def explain(model):
        return lambda images: keras_coda.explain(model, images, 1, dtype=dtype, **settings).contributions

    return explain


def made(name):
    return lambda model: lambda images: getattr(attributions, name)(model, **METHODS.get(name, {}))(images, 1)


# By several threads at once: what makes layers of a ReLU network behave otherwise, and all that takes CoDA-Nets.
IN_THREADS = {
    "relu": {name: made(name) for name in ("Gradient", "GuidedBackpropagation", "DeepLIFT", "GradCAM")}
    | {dtype: explained(dtype, piecewise_linear=True) for dtype in ("float32", "bfloat16")},
    "coda_net": {name: made(name) for name in (*METHODS, "Contributions")}
    | {dtype: explained(dtype) for dtype in ("float32", "bfloat16")},
}


@pytest.mark.parametrize("network", IN_THREADS)
def test_eight_threads(network):
    """Their first use of one model gives what one thread gets, and leaves the model as it was."""
    build = {"relu": tiny_models.cnn, "coda_net": tiny_models.coda_net}[network]
    model, images = build(), tiny_models.images()
    weights = [weight.copy() for weight in model.get_weights()]
    settings = [settings_of(layer) for layer in model.layers]
    tasks = 2 * list(IN_THREADS[network].items())
    start = threading.Barrier(8)

    def run(number):
        start.wait()
        return [(name, make(model)(images)) for name, make in tasks[number::8]]

    with ThreadPoolExecutor(8) as threads:
        results = [result for part in threads.map(run, range(8)) for result in part]
    assert [settings_of(layer) for layer in model.layers] == settings
    for got, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(got, expected)
    alone = build()
    want = {name: make(alone)(images) for name, make in IN_THREADS[network].items()}
    assert len(results) == 2 * len(want)
    for name, result in results:
        np.testing.assert_array_equal(result, want[name], err_msg=name)


def settings_of(layer):
    return layer.name, getattr(layer, "activation", None), layer.dtype_policy.name, layer.trainable


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_explainers_classifiers_and_explanations(how):
    model, images = tiny_models.coda_net(), tiny_models.images()
    inner = model.layers[2]
    explainer = keras_coda.Explainer(model, layer=inner, dtype="bfloat16")
    unit = (0, 1, 2)
    want = explainer.explain(images, unit)
    for thing in (explainer, attributions.Contributions(model), attributions.Classifier(model, "softmax", "image")):
        copied = COPIES[how](thing)
        assert type(copied) is type(thing)
        if isinstance(thing, attributions.Contributions):
            assert copied.classifier.model is not model
            np.testing.assert_array_equal(copied(images, 1), thing(images, 1))
        elif isinstance(thing, attributions.Classifier):
            assert copied.model is not model
            sources = thing.source(images)
            np.testing.assert_array_equal(copied.source(images), sources)
            outputs = thing.outputs(sources)
            np.testing.assert_array_equal(copied.outputs(sources), outputs)
            np.testing.assert_array_equal(copied.probabilities(outputs), thing.probabilities(outputs))
        else:
            assert copied.model is not model
            explanation = copied.explain(images, unit)
            assert_equal_explanations(explanation, want)
            assert_equal_explanations(COPIES[how](want), want)


def assert_equal_explanations(one, other):
    assert type(one) is type(other)
    for name, value in vars(other).items():
        np.testing.assert_array_equal(getattr(one, name), value, err_msg=name)


def test_a_copy_of_an_explainer_of_several_sources_and_pieces():
    model, images = tiny_models.cnn(), tiny_models.images()
    explainer = keras_coda.Explainer(model, source=[model.layers[0]], piecewise_linear=True)
    explanation = copy.deepcopy(explainer).explain(images, 1)
    assert_equal_explanations(explanation, explainer.explain(images, 1))
    assert_equal_explanations(pickle.loads(pickle.dumps(explanation)), explanation)
