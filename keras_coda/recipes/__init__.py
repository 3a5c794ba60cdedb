"""Recipes: what to train and how, as plain data."""

from keras_coda.recipes.recipe import Recipe, built_in, load

__all__ = ["Recipe", "built_in", "load"]
