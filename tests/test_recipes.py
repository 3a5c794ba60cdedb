"""Recipes: plain data, built in or from a file."""

import dataclasses
import json

import pytest

import keras_coda
from keras_coda import recipes


@pytest.mark.parametrize("name", recipes.built_in())
def test_built_in_recipes_describe_a_network_that_can_be_built(name):
    recipe = recipes.load(name)
    assert recipe.name == name
    model = keras_coda.CoDANet(**recipe.model, image_shape=(None, None, 1))
    assert model.classes == 10


def test_a_recipe_is_read_from_a_file(tmp_path):
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), epochs=2)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(dataclasses.asdict(recipe)))
    assert recipes.load(path) == recipe
    assert recipes.load(str(path)) == recipe


def test_what_is_no_recipe_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"No recipe 'nonsense'.*xs_coda_digits"):
        recipes.load("nonsense")
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": ')
    with pytest.raises(ValueError, match=r"broken\.json is no recipe"):
        recipes.load(broken)
    incomplete = tmp_path / "incomplete.json"
    incomplete.write_text('{"name": "x", "colour": "red"}')
    with pytest.raises(ValueError, match=r"incomplete\.json is no recipe.*'learning_rate'"):
        recipes.load(incomplete)
