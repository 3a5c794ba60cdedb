"""Data sets."""

from keras_coda.data.dataset import Dataset, load
from keras_coda.data.digits import load_digits

__all__ = ["Dataset", "load", "load_digits"]
