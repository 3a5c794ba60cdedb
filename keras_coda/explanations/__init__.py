"""Model-inherent explanations: contributions and weights."""

from keras_coda.explanations.explainer import Explainer, explain
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.video import explain_video
from keras_coda.renamed import renamed

__all__ = ["Explainer", "Explanation", "explain", "explain_video"]

__getattr__ = renamed(__name__, plots="keras_coda.plots")
