"""Convolutional Dynamic Alignment Networks: image classifiers that explain themselves, in Keras 3.

    model = keras_coda.presets.load("xs_coda_digits")
    explanation = model.explain(images)

The layers are in `layers`, networks in `models`, W(x) as an object in `linear_maps`, contributions in `explanations`,
their pictures in `plots`, pretrained networks in `presets`; `train` makes one from a recipe in `recipes`. Post-hoc
methods, for Keras image classifiers, are in `attributions`, what compares them in `metrics`, and the pages of a
comparison in `reports`.
"""

# isort: off
from keras_coda import _keras_backend

_keras_backend.choose()
# isort: on

from keras_coda import (
    attributions,
    callbacks,
    data,
    explanations,
    exporting,
    layers,
    linear_maps,
    losses,
    metrics,
    models,
    optimizers,
    plots,
    presets,
    recipes,
    reports,
)
from keras_coda.contractions import contraction, set_contraction
from keras_coda.explanations import Explainer, Explanation, explain
from keras_coda.exporting import export
from keras_coda.layers import DAUConv2D, DAUDense
from keras_coda.linear_maps import LinearMap, NotDynamicLinearError
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet
from keras_coda.training import train
from keras_coda.version import __version__

__all__ = [
    "CoDANet",
    "DAUConv2D",
    "DAUDense",
    "Explainer",
    "Explanation",
    "LinearMap",
    "NotDynamicLinearError",
    "OneVsRestCrossentropy",
    "__version__",
    "attributions",
    "callbacks",
    "contraction",
    "data",
    "explain",
    "explanations",
    "export",
    "exporting",
    "layers",
    "linear_maps",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plots",
    "presets",
    "recipes",
    "reports",
    "set_contraction",
    "train",
]
