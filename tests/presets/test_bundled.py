"""The presets in the package fit their recipes, and explain exactly."""

from unittest.mock import ANY

import keras
import numpy as np
import pytest

import keras_coda
from keras_coda import attributions, data, metrics, presets, recipes
from keras_coda.presets.names import bundled

# The recipe "s_coda_cifar10" is the published training, of 200 epochs.
TRAINED_BY = {"s_coda_cifar10": "s_coda_cifar10_fast"}
# By scripts/gpu_train.py, whose epochs are no whole number.
BY_THE_JOB = {"s_coda_cifar10", "xs_coda_tinyimagenet"}


@pytest.mark.parametrize("name", sorted(bundled()))
def test_presets_in_the_package(name, rng):
    facts, recipe, model = presets.metadata(name), recipes.load(TRAINED_BY.get(name, name)), presets.load(name)
    config, arguments = model.get_config(), dict(recipe.model)
    if size := arguments.pop("size", None):
        layout = keras_coda.CoDANet.from_size(size).get_config()
        arguments |= {key: layout[key] for key in ("filters", "kernel_sizes", "ranks", "strides")}
    assert {key: config[key] for key in arguments} == arguments
    assert (facts["name"], facts["dataset"]) == (name, recipe.dataset)
    assert facts["results"]["epochs"] == pytest.approx(recipe.epochs, rel=0.05 if name in BY_THE_JOB else 0, abs=0)
    images = rng.random((2, *facts["image_shape"])).astype("float32")
    explanation = model.explain(images, "all")
    total = explanation.contributions.sum((2, 3, 4)) + explanation.bias
    np.testing.assert_allclose(total, model.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    assert model.classes == len(facts["classes"])


@pytest.mark.parametrize("name", ["xs_coda_digits", "xs_coda_cifar10"])
def test_a_preset_in_the_other_data_format(name, rng, tmp_path):
    model, first = presets.load(name), presets.load(name, data_format="channels_first")
    assert presets.load(name, data_format="channels_last").get_config() == {**model.get_config(), "name": ANY}
    images = rng.random((2, *presets.metadata(name)["image_shape"])).astype("float32")
    want, got = model.explain(images, [3, 5]), first.explain(np.moveaxis(images, -1, 1), [3, 5])
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.moveaxis(got.contributions, 1, -1), want.contributions, rtol=1e-3, atol=1e-4)
    assert (first.class_names, first.image_size) == (model.class_names, model.image_size)
    facts = presets.metadata(name)
    presets.save(first, tmp_path / "first", dataset=facts["dataset"], classes=facts["classes"])
    back = presets.load(tmp_path / "first", data_format="channels_last")
    assert back.get_config() == {**model.get_config(), "name": ANY}
    with pytest.raises(ValueError, match=r'"channels_last" or "channels_first". Received: .channels.'):
        presets.load(name, data_format="channels")


def test_a_data_format_is_for_networks_that_have_one(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    presets.save(model, tmp_path / "dense", dataset="none", classes=["a", "b"])
    with pytest.raises(ValueError, match=r"`data_format` is for a `CoDANet`. Received: a preset with a Sequential"):
        presets.load(tmp_path / "dense", data_format="channels_first")


@pytest.fixture(scope="module")
def other_digits():
    """Digits of scikit-learn in MNIST's format, without a download: 20 x 20 pixels in the middle of 28 x 28."""
    _, (images, labels) = data.load_digits(20)
    return np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)]), labels


@pytest.mark.one_backend
def test_xs_coda_mnist_reads_digits_of_another_data_set(other_digits):
    images, labels = other_digits
    model = presets.load("xs_coda_mnist")
    assert np.mean(model.predict(images, verbose=0).argmax(-1) == labels) > 0.75
    explanation = model.explain(images[:16])
    black = images[:16] == 0
    assert black.any()
    np.testing.assert_array_equal(explanation.contributions[black], 0)


@pytest.mark.one_backend
def test_xs_coda_mnist_localises_digits_of_another_data_set_better_than_occlusion(other_digits):
    model = presets.load("xs_coda_mnist")
    grids = metrics.make_grids(model, *other_digits, size=3, count=2)

    def score(method):
        return metrics.localisation(method.maps(grids.images, grids.targets), size=3).mean()

    contributions = score(attributions.Contributions(model))
    assert contributions > 0.6
    assert contributions > score(attributions.Occlusion(model, patch=9, stride=4)) + 0.05
