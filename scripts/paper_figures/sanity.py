"""The sanity check: how maps change while the network's layers are randomised."""

import pandas as pd

from keras_coda.metrics import sanity_check
from keras_coda.metrics.sanity_check import MODES
from keras_coda.reports.evaluate import methods_of
from keras_coda.reports.report import plot_sanity

METHODS = ("contributions", "input_x_gradient", "gradient", "guided_backpropagation", "grad_cam")


def draw(subject, methods=METHODS, count=16):
    """Similarity to the maps of the trained network by randomised layer, in both modes."""
    images, labels = subject.images[:count], subject.labels[:count]
    tables = [
        sanity_check(subject.model, make, images, labels, mode, verbose=1).assign(mode=mode, method=name)
        for mode in MODES
        for name, make in methods_of(subject.model, methods).items()
    ]
    return plot_sanity(pd.concat(tables))
