"""Metrics of attributions for Keras image classifiers: the paper's two, insertion and deletion, and the sanity check.

keras_coda.metrics.measure(model, images, labels, methods, directory).summary()
"""

from keras_coda.metrics.grids import Grids, make_grids
from keras_coda.metrics.insertion_deletion import auc, deletion, insertion
from keras_coda.metrics.localisation import localisation
from keras_coda.metrics.measure import measure
from keras_coda.metrics.pixel_removal import pixel_removal
from keras_coda.metrics.protocol import METRICS, Protocol
from keras_coda.metrics.results import Results
from keras_coda.metrics.sanity_check import sanity_check
from keras_coda.metrics.selection import collect, most_confident

__all__ = [
    "METRICS",
    "Grids",
    "Protocol",
    "Results",
    "auc",
    "collect",
    "deletion",
    "insertion",
    "localisation",
    "make_grids",
    "measure",
    "most_confident",
    "pixel_removal",
    "sanity_check",
]
