"""Attributions of any Keras model's outputs to its images' pixels: one constructor and one call for every method.

keras_coda.attributions.Gradient(model)(images, targets)
"""

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.classifier import Classifier
from keras_coda.attributions.gradient import Gradient, InputXGradient

__all__ = ["Attribution", "Classifier", "Gradient", "InputXGradient"]
