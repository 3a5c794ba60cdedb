"""Pictures of explanations, and charts of measured scores, in Matplotlib.

keras_coda.plots.plot_explanation_gallery(images, model.explain(images), path="explained.png")
"""

from keras_coda.plots.explanation_gallery import plot_explanation_gallery, target_and_strongest_other
from keras_coda.plots.explanations import (
    contribution_limit,
    plot_contribution_map,
    plot_image,
    plot_weights,
    save_figure,
    weights_limit,
    weights_to_rgba,
)

__all__ = [
    "contribution_limit",
    "plot_contribution_map",
    "plot_explanation_gallery",
    "plot_image",
    "plot_weights",
    "save_figure",
    "target_and_strongest_other",
    "weights_limit",
    "weights_to_rgba",
]
