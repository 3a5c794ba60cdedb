"""Guided backpropagation: gradients of which only the positive parts pass through ReLUs."""

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.attributions.gradient import Gradient
from keras_coda.attributions.pull_back import PullBack
from keras_coda.linear_maps.views import view

# Numbers for which ReLUs with a slope, a threshold or a cap differ from max(x, 0), as an image (1, 2, 2, 3) in which
# functions along an axis do.
_PROBE = np.array([-1e6, 1e-3, 0.4, -30.0, 30.0, -1.0, 0.0, 1e6, -1e-3, 1.0, 7.0, -7.0], "float32").reshape(1, 2, 2, 3)
# Operations of `keras.ops` that may be a ReLU. They have no public classes.
_OPERATIONS = ("Relu", "ReLU", "LeakyRelu", "Maximum", "Clip", "Threshold")
_LAYERS = (keras.layers.Activation, keras.layers.Lambda, keras.layers.LeakyReLU, keras.layers.ReLU)


class GuidedBackpropagation(Gradient):
    """Guided backpropagation: the gradient, with ReLUs that pass only its positive parts back, `(N, H, W, C)`.

    Springenberg et al. (2015). A ReLU is a layer, an activation or an operation that computes max(x, 0). Whether it
    does is tested on a few numbers. So `activation="relu"`, `layers.ReLU()`, `torch.relu`, `ops.maximum(x, 0)` and
    users' own functions are recognised.

    All other nonlinearities are differentiated, as in the paper and in Captum. Among them are ReLUs with a cap, slope
    or threshold, ReLUs in the `call` of a user's own layer, and ReLUs of several operations, such as
    `where(x > 0, x, 0)`. For a model without ReLUs, such as a CoDA-Net, this method is the gradient. Arguments and
    call: see `Attribution`.

    Raises:
        ValueError: see `Attribution`; or a layer with layers of its own, such as a subclassed model, hides a ReLU.

    Example:

    >>> resnet = keras.applications.ResNet50()  # doctest: +SKIP
    >>> keras_coda.attributions.GuidedBackpropagation(resnet)(images)  # doctest: +SKIP
    """

    def __init__(self, model: keras.Model, batch_size: int = 32, input: str = "encoded"):
        super().__init__(model, batch_size, input)
        classifier = self.classifier.in_float32()
        operations = classifier.operations
        for operation in operations:
            _check_hides_none(operation)
        # Tested now, since a compiled program cannot read numbers.
        forms = {id(operation): _relu_form(operation) for operation in operations}

        def replace(operation):
            return _replacement(operation, forms.get(id(operation)))

        self._pull_back = PullBack(classifier, replace)


_guided_relu = backend.custom_gradient(
    lambda x: (ops.relu(x), (x,)),
    lambda residuals, gradient: (ops.where(residuals[0] > 0, ops.relu(gradient), 0.0),),
)


def _replacement(operation, form):
    """The function to call in place of a layer or operation, by its `_relu_form`."""
    if form is None:
        return operation
    if form == "activation":
        return view(operation, activation=_guided_relu)
    return lambda *args, **kwargs: _guided_relu(keras.tree.flatten((args, kwargs))[form])


def _check_hides_none(operation):
    """Raise an error if a ReLU is a layer within a layer, where it cannot be replaced."""
    if not isinstance(operation, keras.layers.Layer):
        return
    replaced = getattr(operation, "activation", None)
    # Keras has no public name for the layers of a layer.
    inner = [layer for layer in operation._flatten_layers(include_self=False) if layer is not replaced]
    hidden = [layer for layer in inner if _relu_form(layer) is not None]
    if hidden:
        raise ValueError(
            f"Guided backpropagation does not reach the ReLU of {hidden[0].name!r} within the layer "
            f"{operation.name!r} ({type(operation).__name__}). Expected: a Sequential or Functional model whose ReLUs "
            "are operations of its own or of nested models of these kinds"
        )


def _relu_form(operation):
    """Where a layer or operation has a ReLU.

    Returns:
        `None`: nowhere. "activation": in this attribute. An integer: it is a ReLU itself, of the argument with this
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
    # A module of PyTorch in Keras' wrapper.
    module = getattr(layer, "module", None)
    return isinstance(layer, keras.layers.TorchModuleWrapper) and not layer.weights and _is_relu(module)


def _is_relu(function):
    """Whether a function of a tensor computes max(x, 0) for each number."""
    if function in (keras.activations.relu, ops.relu):
        return True
    if isinstance(function, keras.layers.Layer):
        # `call`, without casts to the layer's dtype. Other layers may have states, and are not tested.
        function = function.call if isinstance(function, _LAYERS) else None
    if function is None:
        return False
    try:
        values = ops.convert_to_numpy(function(ops.convert_to_tensor(_PROBE)))
        return bool(np.all(values == np.maximum(_PROBE, 0)))
    except Exception:  # a function for other tensors may raise any error
        return False
