"""Optimizers that Keras does not have."""

from keras_coda.optimizers.adam import Adam
from keras_coda.optimizers.muon import Muon

__all__ = ["Adam", "Muon"]
