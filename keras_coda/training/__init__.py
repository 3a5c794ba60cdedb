"""Training by recipes: from one file of plain data to a preset."""

from keras_coda.training.by_recipe import evaluate, train

__all__ = ["evaluate", "train"]
