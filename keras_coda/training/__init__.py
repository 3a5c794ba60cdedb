"""Training by recipes: from one file of plain data to a preset."""

import warnings

from keras_coda.training.by_recipe import score, train
from keras_coda.training.photo_recipes import recipe_for_photos

__all__ = ["recipe_for_photos", "score", "train"]


def __getattr__(name):
    if name == "evaluate":
        warnings.warn(
            "keras_coda.training.evaluate is now keras_coda.training.score.", DeprecationWarning, stacklevel=2
        )
        return score
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
