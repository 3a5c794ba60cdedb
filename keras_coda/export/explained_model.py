"""A model with its explanation in the same graph."""

import keras
from keras import ops

from keras_coda.explanations.explainer import Explainer
from keras_coda.explanations.targets import PREDICTED
from keras_coda.layers.input_encoding import to_unit_range

PROBABILITIES = ("sigmoid", "softmax")
# In the order in which every backend lists the entries of a dict.
OUTPUTS = ("contribution_map", "logits", "probabilities", "residual")


class ExplainedModel(keras.Model):
    """Images to logits, probabilities and contribution maps, the classes to explain built in.

    Args:
        model: a CoDA-Net, or any built model that `keras_coda.explain` takes.
        explain: "predicted", "all", or integers: the classes that have a contribution map.
        probabilities: "sigmoid" (paper, eq. 9) or "softmax": what makes probabilities of logits.

    Input shape:
        As the model takes images; floats in [0, 1], or integers in 0..255.

    Output shape:
        A dict of float32 tensors: `logits (N, classes)`, `probabilities (N, classes)`, `contribution_map (N, K, H, W)` and
        `residual (N, K)` of K classes; without the axis of K for "predicted".

    Raises:
        NotDynamicLinearError: the model cannot be explained, see `Explainer`.
    """

    def __init__(self, model, explain="predicted", probabilities="sigmoid"):
        super().__init__(name=f"{model.name}_explained")
        self.explained = explain
        self.probabilities = probabilities
        self.explainer = Explainer(model)
        self.built = True

    def call(self, images):
        images = to_unit_range(images, check=False)
        parts = explanation(self.explainer, images, self._targets())
        if self.explained == "predicted":
            parts = {name: part if name == "logits" else ops.squeeze(part, 1) for name, part in parts.items()}
        activation = getattr(ops, self.probabilities)
        return {name: activation(parts["logits"]) if name == "probabilities" else parts[name] for name in OUTPUTS}

    def _targets(self):
        if self.explained == "predicted":
            return [PREDICTED]
        return range(self.explainer.model.output_shape[-1]) if self.explained == "all" else self.explained


def explanation(explainer, images, targets):
    """The logits, and the contribution maps and residuals of some classes, of every image; a dict of tensors.

    All that is taken of `Explainer` here.
    """
    targets = ops.convert_to_tensor([*targets], dtype="int32")
    targets = ops.broadcast_to(ops.expand_dims(targets, 0), (ops.shape(images)[0], len(targets)))
    parts = explainer({"images": images, "targets": targets})
    return {name: parts[name] for name in ("logits", "contribution_map", "residual")}
