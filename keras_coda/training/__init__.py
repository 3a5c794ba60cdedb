"""Training by recipes: from a file of plain data to a preset."""

from keras_coda.training.by_recipe import score, train
from keras_coda.training.options import Options
from keras_coda.training.photo_recipes import recipe_for_photos

__all__ = ["Options", "recipe_for_photos", "score", "train"]
