"""Recipes: plain data, built in or from a file."""

import dataclasses
import json

import pytest

from keras_coda import CoDANet, data, recipes
from keras_coda.training import fitting

pytestmark = pytest.mark.one_backend

CLASSES = {"digits": 10, "mnist": 10, "cifar10": 10, "imagenet100": 100, "tiny_imagenet": 200}
# As published: millions of parameters (paper, 4.1).
PARAMETERS = {"s": 8, "m": 28, "l": 48, "xl": 62}


@pytest.mark.parametrize("name", recipes.built_in())
def test_built_in_recipes_can_be_used(name):
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    fitting.optimizer(recipe, steps=1000)
    fitting.augmentation(recipe)
    arguments = {key: value for key, value in recipe.model.items() if key != "size"}
    if "size" in recipe.model:
        model = CoDANet.from_size(recipe.model["size"], CLASSES[recipe.dataset], **arguments)
        assert round(model.count_params() / 1e6) == PARAMETERS[recipe.model["size"]]
    else:
        model = CoDANet(**arguments)
    assert model.classes == CLASSES[recipe.dataset]


def test_the_published_trainings_of_s_are_there():
    published = {}
    for name in recipes.built_in():
        recipe = recipes.load(name)
        if recipe.model.get("size") == "s" and recipe.epochs == 200:
            model = CoDANet.from_size(**recipe.model)
            published[type(model.rescaling).__name__, model.rescaling.__name__, model.temperature, model.penalty] = (
                recipe.learning_rate,
                recipe.batch_size,
                recipe.optimizer,
                recipe.augmentation,
            )
    assert {*published} == {
        ("function", rescaling, temperature, penalty)
        for rescaling in ("sq", "l2")
        for temperature, penalty in [
            *((temperature, 0.0) for temperature in (10, 50, 100, 500, 1000, 5000)),
            *((64, penalty) for penalty in (0.1, 0.25, 0.5, 1)),
        ]
    }
    values = (2.5e-4, 16, {"name": "keras_coda>Adam"}, {"flip": True, "crop_padding": 4})
    assert all(found == values for found in published.values())


def test_the_table_of_the_zoo_has_all_recipes():
    page = (recipes.ZOO / "README.md").read_text(encoding="utf-8")
    assert [name for name in recipes.built_in() if f"`{name}`" not in page] == []


def test_a_recipe_is_read_from_a_file(tmp_path):
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), epochs=2)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(dataclasses.asdict(recipe)))
    assert recipes.load(path) == recipe
    assert recipes.load(str(path)) == recipe


def test_a_recipe_has_what_its_base_has_and_it_has_not(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "xs_coda_digits", "name": "mine", "model": {"temperature": 7.0}, "epochs": 3}')
    base = recipes.load("xs_coda_digits")
    expected = dataclasses.replace(base, name="mine", model={**base.model, "temperature": 7.0}, epochs=3)
    assert recipes.load(path) == expected


def test_the_path_of_a_base_is_seen_from_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "base.json").write_text('{"base": "xs_coda_digits", "epochs": 3}')
    (folder / "mine.json").write_text('{"base": "base.json", "name": "mine"}')
    expected = dataclasses.replace(recipes.load("xs_coda_digits"), name="mine", epochs=3)
    assert recipes.load(folder / "mine.json") == expected
    # Or from the current folder, if there is none beside the file. A built-in recipe takes precedence.
    monkeypatch.chdir(tmp_path)
    (folder / "mine.json").write_text('{"base": "recipes/base.json", "name": "mine"}')
    assert recipes.load("recipes/mine.json") == expected
    (folder / "xs_coda_digits").write_text("no recipe")
    assert recipes.load("recipes/mine.json") == expected


@pytest.mark.parametrize("base", ["mine.json", "./mine.json", "../recipes/mine.json"])
def test_a_recipe_that_is_its_own_base_is_refused(tmp_path, base):
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "mine.json"
    path.write_text(json.dumps({"base": base}))
    with pytest.raises(ValueError, match="it is its own base"):
        recipes.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": ', r"mine\.json is no recipe: Expecting value"),
        ('["name"]', r"mine\.json is no recipe"),
        ('{"name": "x", "colour": "red"}', r"mine\.json is no recipe.*'colour'.*'learning_rate'"),
        ('{"name": "x"}', r"mine\.json is no recipe.*'description'"),
        ('{"base": "xs_coda_digits", "colour": "red"}', r"mine\.json is no recipe.*'colour'"),
        ('{"base": "nonsense"}', r"No recipe 'nonsense'.*xs_coda_digits"),
        ('{"base": "xs_coda_digits", "learning_rate": -1}', "`learning_rate` must be positive. Received: -1"),
        ('{"base": "xs_coda_digits", "dataset": ""}', "`dataset` must be a name or a path"),
        ('{"base": "xs_coda_digits", "optimizer": {}}', "`optimizer` must have the name"),
        ('{"base": "xs_coda_digits", "image_shape": [32, 32]}', r"`image_shape` must be \[height, .*: \[32, 32\]"),
        (
            '{"base": "xs_coda_digits", "image_shape": ["a", "b", 3]}',
            r"`image_shape` must .* Received: \['a', 'b', 3\]",
        ),
        ('{"base": "xs_coda_digits", "image_shape": [32, 0, 3]}', r"`image_shape` must .* Received: \[32, 0, 3\]"),
        ('{"base": "xs_coda_digits", "stages": [0.5]}', r"`stages` must be a list of .* Received: \[0\.5\]"),
        ('{"base": "xs_coda_digits", "stages": [{"scale": 1, "epochs": 1}]}', r"`stages` must .*'epochs': 1"),
        ('{"base": "xs_coda_digits", "stages": [{"scale": 1, "share": 0.9}]}', r"`stages` must .*'share': 0\.9"),
        ('{"base": "xs_coda_digits", "stages": [{"scale": 0.5, "share": 1}]}', r"`stages` must .*'scale': 0\.5"),
        (
            '{"base": "xs_coda_digits", "stages": [{"scale": 2, "share": 0.5}, {"scale": 1, "share": 0.5}]}',
            r"`stages` must .*'scale': 2",
        ),
        ('{"base": "xs_coda_digits", "name": "f\\udce9"}', r"`name` must be text in UTF-8. Received: 'f\\udce9'"),
        ('{"base": "xs_coda_digits", "description": "f\\udce9"}', "`description` must be text in UTF-8"),
        ('{"base": "xs_coda_digits", "dataset": "f\\udce9/"}', "`dataset` must be text in UTF-8"),
        ('{"base": "xs_coda_digits", "freeze": [3]}', "`freeze` must be a list of names"),
        ('{"base": "xs_coda_digits", "model": {"dtype": "bfloat16"}}', "apart from its name, dtype, data format"),
    ],
)
def test_what_is_no_recipe_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        recipes.load(path)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"No recipe 'nonsense'.*xs_coda_digits"):
        recipes.load("nonsense")


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"optimizer": {"name": "nonsense"}}, "nonsense"),
        ({"optimizer": {"name": "adam", "momentum": 1}}, "momentum"),
        ({"optimizer": {"name": "adam", "clipnorm": "1"}}, r"\['clipnorm'\] must be numbers"),
        ({"schedule": {"decay": "fast"}}, "decay='fast'"),
        ({"schedule": {"decay": "steps", "factor": 0.5}}, "every=None"),
        ({"schedule": {"slope": 1}}, "slope"),
    ],
)
def test_an_unknown_optimizer_or_schedule_is_refused(changes, received):
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), **changes)
    with pytest.raises(ValueError, match=rf"'xs_coda_digits' names no optimizer.*{received}"):
        fitting.optimizer(recipe, steps=10)


def test_an_unknown_augmentation_is_refused():
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), augmentation={"rotate": 10})
    with pytest.raises(ValueError, match=r"'xs_coda_digits' names no augmentation.*'rotate'"):
        fitting.augmentation(recipe)


def test_all_data_sets_of_recipes_are_known():
    assert {recipes.load(name).dataset for name in recipes.built_in()} <= {*data.dataset._LOADERS}
