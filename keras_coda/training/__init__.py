"""Training by recipes: from one file of plain data to a preset."""

from keras_coda.training.by_recipe import evaluate, train
from keras_coda.training.photo_recipes import recipe_for_photos

__all__ = ["evaluate", "recipe_for_photos", "train"]
