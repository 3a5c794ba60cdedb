"""Model-inherent explanations: contributions and weights."""

from keras_coda.explanations.explainer import Explainer, explain
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.video import explain_video

__all__ = ["Explainer", "Explanation", "explain", "explain_video"]
