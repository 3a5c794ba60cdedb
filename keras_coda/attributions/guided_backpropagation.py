"""Guided backpropagation: gradients without what would lower the output."""

import keras
import numpy as np
from keras import ops

from keras_coda.attributions import graph
from keras_coda.attributions.gradient import Gradient
from keras_coda.attributions.pull_back import PullBack
from keras_coda.linear_maps.views import view

# Numbers that tell a ReLU from what has a slope, a threshold or a cap.
_PROBE = np.array([-1e6, -30.0, -1.0, -1e-3, 0.0, 1e-3, 0.4, 1.0, 30.0, 1e6], "float32")
# Operations of `keras.ops` that may be a ReLU. They have no public classes.
_OPERATIONS = ("Relu", "ReLU", "LeakyRelu", "Maximum", "Clip", "Threshold")
_LAYERS = (keras.layers.Activation, keras.layers.Lambda, keras.layers.LeakyReLU, keras.layers.ReLU)


class GuidedBackpropagation(Gradient):
    """The gradient in which only positive parts pass back through a ReLU (Springenberg et al., 2015), `(N, H, W, C)`.

    A ReLU is a layer, an activation or one operation that computes max(x, 0), whatever its name: it is tried on a few
    numbers. So `activation="relu"`, `layers.ReLU()`, `torch.relu`, `ops.maximum(x, 0)` and functions of a user's own
    are ReLUs.

    Other nonlinearities pass on the gradient as it is, as in the paper and in Captum; so do ReLUs with a cap, slope or
    threshold, those inside a layer of a user's own, and those written as several operations, such as
    `where(x > 0, x, 0)`. Of a model without ReLUs, such as a CoDA-Net, this is the gradient. Arguments and call: see
    `Attribution`.

    Example:

    >>> resnet = keras.applications.ResNet50()  # doctest: +SKIP
    >>> keras_coda.attributions.GuidedBackpropagation(resnet)(images)  # doctest: +SKIP
    """

    def __init__(self, model, batch_size=32, input="encoded"):
        super().__init__(model, batch_size, input)
        network = self.classifier.network
        # Tried now: in a compiled graph no numbers can be read.
        forms = {id(operation): _relu_form(operation) for operation in graph.operations(network)}

        def replace(operation):
            return _replacement(operation, forms.get(id(operation)))

        self._pull_back = PullBack(self.classifier, lambda source: graph.run(network, source, replace))


@ops.custom_gradient
def _guided_relu(x):
    def grad(*args, upstream=None):
        gradient = args[0] if upstream is None else upstream
        return ops.where(x > 0, ops.relu(gradient), 0.0)

    return ops.relu(x), grad


def _replacement(operation, form):
    """What is called in the place of a layer or operation, by its `_relu_form`."""
    if form is None:
        return operation
    if form == "activation":
        return view(operation, activation=_guided_relu)
    return lambda *args, **kwargs: _guided_relu(keras.tree.flatten((args, kwargs))[form])


def _relu_form(operation):
    """Where a layer or operation of the model's graph has a ReLU.

    Returns:
        `None`, nowhere; "activation", in its attribute; or an integer: it is one, and its input is the argument of this
        number.
    """
    if isinstance(operation, keras.layers.Layer):
        if _is_relu_layer(operation):
            return 0
        return "activation" if _is_relu(getattr(operation, "activation", None)) else None
    if type(operation).__name__ not in _OPERATIONS:
        return None
    # The other arguments are numbers: `maximum(x, 0)`.
    node = operation._inbound_nodes[0].arguments
    arguments = keras.tree.flatten((node.args, node.kwargs))
    positions = [i for i, argument in enumerate(arguments) if keras.utils.is_keras_tensor(argument)]
    if len(positions) != 1:
        return None

    def on_numbers(x):
        filled = [x if i in positions else argument for i, argument in enumerate(arguments)]
        args, kwargs = keras.tree.pack_sequence_as((node.args, node.kwargs), filled)
        return operation.call(*args, **kwargs)

    return positions[0] if _is_relu(on_numbers) else None


def _is_relu_layer(layer):
    """Whether a layer computes a ReLU and nothing else."""
    # A subclass may compute something else in its own `call`.
    known = any(isinstance(layer, cls) and type(layer).call is cls.call for cls in _LAYERS)
    if known:
        return _is_relu(layer)
    # PyTorch's, which Keras wraps.
    module = getattr(layer, "module", None)
    return isinstance(layer, keras.layers.TorchModuleWrapper) and not layer.weights and _is_relu(module)


def _is_relu(function):
    """Whether a function of a tensor computes max(x, 0) of every number by itself."""
    if function in (keras.activations.relu, ops.relu):
        return True
    if isinstance(function, keras.layers.Layer):
        # Without Keras' casts to the layer's dtype. Others than these may have states.
        function = function.call if isinstance(function, _LAYERS) else None
    if function is None:
        return False
    probe = _PROBE.reshape(1, 1, -1, 1)
    try:
        values = ops.convert_to_numpy(function(ops.convert_to_tensor(probe)))
        return bool(np.all(values == np.maximum(probe, 0)))
    except Exception:  # whatever a function raises that is for other tensors
        return False
