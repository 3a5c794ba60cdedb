"""Model-inherent explanations: contributions and weights."""

import warnings

from keras_coda.explanations.explainer import Explainer, explain
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.video import explain_video

__all__ = ["Explainer", "Explanation", "explain", "explain_video"]


def __getattr__(name):
    if name == "plots":
        from keras_coda import plots

        warnings.warn("keras_coda.explanations.plots is now keras_coda.plots.", DeprecationWarning, stacklevel=2)
        return plots
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
