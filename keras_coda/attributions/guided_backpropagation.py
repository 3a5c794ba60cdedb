"""Guided backpropagation: gradients without what would lower the output."""

import keras
from keras import ops

from keras_coda.attributions import graph
from keras_coda.attributions.fused import with_activation
from keras_coda.attributions.gradient import Gradient
from keras_coda.attributions.pull_back import PullBack


class GuidedBackpropagation(Gradient):
    """The gradient in which only positive parts pass back through a ReLU (Springenberg et al., 2015), `(N, H, W, C)`.

    Other nonlinearities pass on the gradient as it is, as in the paper and in Captum; so do ReLUs with a cap, slope or
    threshold, and those inside a layer of a user's own. Of a model without ReLUs, such as a CoDA-Net, this is the
    gradient. Arguments and call: see `Attribution`.

    Example:

    >>> keras_coda.attributions.GuidedBackpropagation(keras.applications.ResNet50())(images)
    """

    def __init__(self, model, batch_size=32, input="encoded"):
        super().__init__(model, batch_size, input)
        network = self.classifier.network
        self._pull_back = PullBack(self.classifier, lambda source: graph.run(network, source, _guided))


@ops.custom_gradient
def _guided_relu(x):
    def grad(*args, upstream=None):
        gradient = args[0] if upstream is None else upstream
        return ops.where(x > 0, ops.relu(gradient), 0.0)

    return ops.relu(x), grad


def _guided(operation):
    if _is_relu(operation):
        return _guided_relu
    if getattr(operation, "activation", None) in (keras.activations.relu, ops.relu):
        return with_activation(operation, _guided_relu)
    return operation


def _is_relu(operation):
    if isinstance(operation, keras.layers.ReLU) or type(operation).__name__ == "ReLU":
        return not (operation.negative_slope or operation.threshold) and operation.max_value is None
    # Operations of `keras.ops` have no public classes.
    return not isinstance(operation, keras.layers.Layer) and type(operation).__name__ == "Relu"
