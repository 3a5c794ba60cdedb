"""Recipes: everything that decides a training, as plain data."""

import dataclasses
import json
import math
import os
import pathlib
import typing

# In a checkout this is a link, in an installed package a folder.
ZOO = pathlib.Path(__file__).parent / "zoo"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        name: name of the preset to train.
        description: one sentence.
        dataset: what `keras_coda.data.load` takes: the name of a data set, or the path of a folder of photos.
        model: arguments of `CoDANet`, or "size" and further arguments of `CoDANet.from_size`. The image shape, the
            dtype and the number of classes of a "size" are not given here: they come from the data and this recipe.
        learning_rate: the highest learning rate, a positive number.
        batch_size: number of images in a step.
        epochs: number of passes over the data.
        optimizer: dict with the "name" of one of Keras' optimizers, and its arguments.
        schedule: dict, arguments of `keras_coda.training.schedule.learning_rate` from `decay` on.
        augmentation: dict, arguments of `keras_coda.data.Augmentation`. Default: no augmentation.
        dtype: dtype policy of the training, such as "mixed_bfloat16".
        seed: seed of the initial weights, the order of the images and the augmentation.
        image_shape: `[H, W, C]` to which the photos of a folder are scaled. Default: chosen by their size. It has no
            effect on other data sets.
        stages: list of `{"scale": s, "share": e}`, in the order of the training. For the share e of the epochs, images
            have s times their height and width, and T is lower in proportion to their pixels. The shares sum to 1, and
            are rounded to whole epochs. The last scale is 1, and has at least one epoch. Default: full size in all
            epochs.
        freeze: names of layers that are not trained, or patterns such as "dau_*". They are frozen in the preset, too.
    """

    name: str
    description: str
    dataset: str
    model: dict
    learning_rate: float
    batch_size: int
    epochs: int
    optimizer: dict = dataclasses.field(default_factory=lambda: {"name": "adam"})
    schedule: dict = dataclasses.field(default_factory=lambda: {"decay": "cosine"})
    augmentation: dict = dataclasses.field(default_factory=dict)
    dtype: str = "float32"
    seed: int = 0
    image_shape: list | None = None
    stages: list = dataclasses.field(default_factory=list)
    freeze: list = dataclasses.field(default_factory=list)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, kinds = getattr(self, field.name), typing.get_args(field.type) or (field.type,)
            kinds = (int, float) if kinds == (float,) else kinds
            if type(value) not in kinds:
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"`{field.name}` must be of type {expected}. Received: {value!r}")
        # The name of a folder can be in another encoding. A preset could not be saved with it.
        for name in ("name", "description", "dataset"):
            text = getattr(self, name)
            if text.encode(errors="replace").decode() != text:
                raise ValueError(f"`{name}` must be text in UTF-8. Received: {text!r}")
        for name, least in (("batch_size", 1), ("epochs", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise TypeError(f"`{name}` must be at least {least}. Received: {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise TypeError(f"`learning_rate` must be positive. Received: {self.learning_rate}")
        if not self.dataset:
            raise TypeError("`dataset` must be a name or a path. Received: ''")
        if not isinstance(self.optimizer.get("name"), str):
            raise TypeError(f"`optimizer` must have the name of one of Keras' optimizers. Received: {self.optimizer}")
        if not all(isinstance(name, str) for name in self.freeze):
            raise TypeError(f"`freeze` must be a list of names. Received: {self.freeze}")
        sides = [None] * 3 if self.image_shape is None else self.image_shape
        if len(sides) != 3 or not all(side is None or (type(side) is int and side > 0) for side in sides):
            raise TypeError(f"`image_shape` must be [height, width, channels]. Received: {self.image_shape}")
        if self.stages and not _are_stages(self.stages):
            raise TypeError(
                '`stages` must be a list of {"scale": s, "share": e} with numbers above 0, and s up to 1. The shares '
                f"sum to 1, and the last scale is 1. Received: {self.stages}"
            )
        given = sorted({"name", "dtype", "data_format", "image_shape"} & self.model.keys())
        if not self.model or given:
            raise TypeError(
                f"`model` must have the arguments of a network, apart from its name, dtype, data format and image "
                f"shape. Received: {self.model}"
            )
        # The name is also that of a folder.
        if not self.name or self.name in (".", "..") or set(self.name) & {"/", "\\", "\0"}:
            raise TypeError(f"`name` must be the name of a file. Received: {self.name!r}")


def _are_stages(stages):
    if not all(isinstance(stage, dict) and stage.keys() == {"scale", "share"} for stage in stages):
        return False
    numbers = [number for stage in stages for number in stage.values()]
    return (
        all(type(number) in (int, float) and 0 < number <= 1 for number in numbers)
        and math.isclose(sum(stage["share"] for stage in stages), 1)
        and stages[-1]["scale"] == 1
    )


def built_in() -> list[str]:
    """The names of the recipes in the package, which are those of `zoo/`."""
    return sorted(path.stem for path in ZOO.glob("*.json"))


def load(name_or_path: str | os.PathLike) -> Recipe:
    """Load a recipe by its built-in name, or from a JSON file.

    The file has the entries of `Recipe`. With an entry "base", the name of a built-in recipe or the path of another
    file (seen from this one, or from the current folder), it has only those in which it differs from the base. Entries
    of "model" are then added to those of the base.

    Args:
        name_or_path: a name of `built_in`, or the path of a file.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: there is no such recipe, an entry is missing or unknown, or has another type.

    Example:

    >>> keras_coda.recipes.load("s_coda_cifar10").epochs
    200
    """
    return Recipe(**_entries(name_or_path))


def _entries(name_or_path, below=()):
    is_built_in = name_or_path in built_in()
    path = ZOO / f"{name_or_path}.json" if is_built_in else pathlib.Path(name_or_path)
    fields = [field.name for field in dataclasses.fields(Recipe)]
    try:
        if not path.is_file():
            raise ValueError(
                f"No recipe {str(name_or_path)!r}. Expected: one of {built_in()}, or the path of a JSON file."
            )
        if path.resolve() in below:
            raise TypeError(f"it is its own base, through {[str(other) for other in below]}")
        entries = json.loads(path.read_text(encoding="utf-8"))
        if "base" in entries:
            base = entries.pop("base")
            beside = path.parent / base
            base = _entries(beside if base not in built_in() and beside.is_file() else base, (*below, path.resolve()))
            entries = {**base, **entries, "model": {**base["model"], **entries.get("model", {})}}
        return dataclasses.asdict(Recipe(**entries))
    except (TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no recipe: {error}. Expected: a JSON object with the entries {fields}") from None
