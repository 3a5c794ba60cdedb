"""The presets that come with the package are what their recipes say, and explain exactly."""

import numpy as np
import pytest

from keras_coda import presets, recipes
from keras_coda.presets.handle import bundled


@pytest.mark.parametrize("name", sorted(bundled()))
def test_presets_in_the_package(name, rng):
    facts, recipe, model = presets.metadata(name), recipes.load(name), presets.load(name)
    config = model.get_config()
    assert {key: config[key] for key in recipe.model} == recipe.model
    assert (facts["name"], facts["dataset"], facts["results"]["epochs"]) == (name, recipe.dataset, recipe.epochs)
    images = rng.random((2, *facts["image_shape"])).astype("float32")
    explanation = model.explain(images, "all")
    total = explanation.contributions.sum((2, 3, 4)) + explanation.bias
    np.testing.assert_allclose(total, model.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    assert model.classes == len(facts["classes"]) == 10
