"""Optimizers for networks of Dynamic Alignment Units."""

from keras_coda.optimizers.muon import Muon

__all__ = ["Muon"]
