"""Recipes: all that decides a training run, as plain data."""

import dataclasses
import importlib.resources
import json
import pathlib


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        name: of the preset that comes out.
        description: one sentence for people.
        dataset: name of a data set of `keras_coda.data`.
        model: arguments of `CoDANet`, but for the image shape, which comes from the data.
        learning_rate: of Adam, at the start; it falls to zero along a cosine.
        batch_size: images a step.
        epochs: passes over the data.
        seed: for the initial weights and the order of the images.
    """

    name: str
    description: str
    dataset: str
    model: dict
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int = 0


def built_in():
    """The names of the recipes that come with the package."""
    folder = importlib.resources.files("keras_coda.recipes")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def load(name_or_path):
    """A recipe by its built-in name, or from a JSON file.

    Raises:
        ValueError: no such recipe, or one that lacks entries or has unknown ones.

    Example:

    >>> keras_coda.recipes.load("xs_coda_digits").epochs
    """
    if name_or_path in built_in():
        source = importlib.resources.files("keras_coda.recipes") / f"{name_or_path}.json"
    else:
        source = pathlib.Path(name_or_path)
        if not source.is_file():
            raise ValueError(
                f"No recipe {str(name_or_path)!r}. Expected: one of {built_in()}, or the path of a JSON file."
            )
    try:
        return Recipe(**json.loads(source.read_text(encoding="utf-8")))
    except (TypeError, json.JSONDecodeError) as error:
        fields = [field.name for field in dataclasses.fields(Recipe)]
        raise ValueError(f"{source} is no recipe: {error}. Expected: a JSON object with the entries {fields}") from None
