"""Settings as one dataclass or field by field."""

import pytest
from small_models import small_coda_net

from keras_coda import metrics, presets, recipes, training
from keras_coda.settings import settings_of

pytestmark = pytest.mark.one_backend


def test_fields_replace_those_of_what_is_given():
    few = metrics.Protocol(grids=20, seed=3)
    assert settings_of(metrics.Protocol, few, {"grids": 5}) == metrics.Protocol(grids=5, seed=3)
    assert settings_of(metrics.Protocol, few, {}) == few
    assert settings_of(training.Options, None, {}) == training.Options()


def test_training_takes_options_in_both_ways(tmp_path):
    recipe = recipes.load("xs_coda_digits")
    for arguments in ({"epochs": 0}, {"options": training.Options(epochs=0)}):
        with pytest.raises(ValueError, match=r"`epochs` must be a positive integer\. Received: 0"):
            training.train(recipe, tmp_path / "preset", **arguments)
    with pytest.raises(TypeError, match=r"Expected a keras_coda\.training\.options\.Options, .*Received: 5"):
        training.train(recipe, tmp_path / "preset", 5)
    with pytest.raises(TypeError, match="epoch"):
        training.train(recipe, tmp_path / "preset", epoch=5)


def test_presets_are_saved_with_facts_in_both_ways(tmp_path):
    facts = presets.Facts("noise", list("abcd"), description="Tiny.")
    model = small_coda_net()
    presets.save(model, tmp_path / "one", facts, name="net")
    presets.save(model, tmp_path / "two", dataset="noise", classes=list("abcd"), description="Tiny.", name="net")
    assert presets.metadata(tmp_path / "one") == presets.metadata(tmp_path / "two")
    with pytest.raises(TypeError, match="dataset"):
        presets.save(model, tmp_path / "three")
