"""Optimizers that Keras does not have."""

from keras_coda.optimizers.adam import Adam

__all__ = ["Adam"]
