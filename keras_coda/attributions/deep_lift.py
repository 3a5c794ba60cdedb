"""DeepLIFT: the change of the output from that of a baseline, propagated back through every layer."""

import functools

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_coda import backend
from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.baseline import broadcast
from keras_coda.attributions.pull_back import PullBack, pulled_back
from keras_coda.backend.conventions import standardize_data_format
from keras_coda.checks import pair
from keras_coda.linear_maps.convolution import pooling_windows
from keras_coda.linear_maps.known import known
from keras_coda.linear_maps.steps import describe
from keras_coda.linear_maps.views import view

# Differences below this share of the values are too inaccurate to divide by.
_SMALL = 1e-4
# Operations that are linear in several tensors together. Others, such as averages with weights, are so in one alone.
_JOINS = ("Add", "Subtract", "Concatenate", "Stack", "Hstack", "Vstack", "Dstack")


class DeepLIFT(Attribution):
    """DeepLIFT with the rescale rule (Shrikumar et al., 2017, 3.5.1), `(N, H, W, C)`.

    Attributions add up to the difference between the outputs for the image and for the baseline. Multipliers pass
    through linear layers as gradients do. The table `keras_coda.linear_maps.known` says which rule others have:

    - "rescale", for elementwise nonlinearities such as ReLU: the change of the output divided by the change of the
      input, or the derivative where the input hardly changes. Softmax is treated so as well, each logit by itself. It
      is better to explain logits.
    - "max_pooling" and "global_max_pooling": a window's change goes to its largest input, in the image if the maximum
      grew, and in the baseline if it shrank, as in Captum.
    - "multiply", for products of two activations: the change of each, times the mean of the other over image and
      baseline.

    DAU layers, and other layers with a method `linear_map`, have no rule: they are differentiated. So on CoDA-Nets with
    the baseline 0, DeepLIFT equals input x gradient, as in the published scores, and does not add up.

    Args:
        model: see `Attribution`.
        baseline: a number, or an array that broadcasts to the (encoded) images: one for all, or one an image. In [0, 1]
            for a model with an `InputEncoding`.
        batch_size: integer, how many images the model gets at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: a layer or operation has no rule, and is named; the baseline does not fit the images (when called).

    Example:

    >>> resnet = keras.applications.ResNet50(classifier_activation=None)  # doctest: +SKIP
    >>> keras_coda.attributions.DeepLIFT(resnet)(images)  # doctest: +SKIP
    """

    def __init__(self, model: keras.Model, baseline: ArrayLike = 0.0, batch_size: int = 32, input: str = "encoded"):
        super().__init__(model, batch_size, input)
        self.baseline = baseline
        self._multipliers = _Multipliers(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        baseline = broadcast(self.baseline, source, self.classifier)
        multipliers = self._multipliers.gradients(source, targets, self.batch_size, verbose, baseline=baseline)
        return multipliers * (source - baseline)[:, None]


class _Multipliers(PullBack):
    """The gradients of a network in which rules replace the derivatives of nonlinear operations.

    The network runs for the baseline first. Then the inputs of these operations are recorded, in the order in which the
    rules need them.
    """

    def __init__(self, classifier):
        super().__init__(classifier)
        for operation in classifier.operations:
            _rule(operation)  # raises errors now, and not while a program is compiled

    def call(self, inputs):
        references = []

        def note(rule, operation, *args, **kwargs):
            references.append(args)
            return operation(*args, **kwargs)

        self._run(inputs["baseline"], note)

        def explained(source):
            remaining = iter(references)

            def apply(rule, operation, *args, **kwargs):
                return rule(functools.partial(operation, **kwargs), args, next(remaining))

            return self._run(source, apply), None

        source = ops.cast(inputs["source"], self.classifier.dtype)
        return pulled_back(explained, source, inputs["targets"])[0]

    def _run(self, source, apply):
        return self.classifier.forward(source, lambda operation: _replacement(operation, apply))


def _replacement(operation, apply):
    """The function to call in place of an operation: `apply(rule, operation, ...)` if it has a rule."""
    rule = _rule(operation)
    if rule is not None:
        return functools.partial(apply, rule, operation)
    activation = getattr(operation, "activation", None)
    if activation in (None, keras.activations.linear):
        return operation
    return view(operation, activation=functools.partial(apply, _rescaled, activation))


def _rule(operation):
    """The rule of an operation, or `None` if it is differentiated."""
    kind = known(operation).deep_lift
    if kind is None and hasattr(operation, "linear_map"):
        return None
    is_layer = isinstance(operation, keras.Layer)
    counts_once = is_layer or type(operation).__name__ in _JOINS
    inputs = 1 if counts_once else len(operation._inbound_nodes[0].input_tensors)
    if kind == "multiply" and (is_layer or inputs > 1):
        return _all_multiplied if is_layer else _multiplied
    if kind in ("linear", "multiply") and inputs == 1:
        return None
    if kind in _RULES and inputs == 1:
        return _RULES[kind]
    raise ValueError(
        "DeepLIFT has no rule for this part of the model. Expected: convolutions and dense layers, activations, "
        f"pooling, and layers that are linear. Received: {describe(operation)}"
    )


def _with_value(value, surrogate):
    """`value`, with the gradient of `surrogate`."""
    surrogate = ops.cast(surrogate, value.dtype)
    return surrogate + ops.stop_gradient(value - surrogate)


def _rescaled(f, inputs, references):
    """The rescale rule, for a function of which exactly one input is not a constant."""
    (i,) = [i for i, (x, x0) in enumerate(zip(inputs, references, strict=True)) if x is not x0]
    x, x0 = inputs[i], references[i]
    y, y0 = f(*inputs[:i], _with_finite_gradient(x), *inputs[i + 1 :]), f(*references)
    change = x - x0
    small = ops.abs(change) <= _SMALL * (ops.abs(x) + ops.abs(x0))
    # A layer may have another dtype than its inputs, which `/` and `*` do not take on TensorFlow.
    multiplier = ops.stop_gradient(ops.divide(y - y0, ops.where(small, 1.0, change)))
    return ops.where(small, y, _with_value(y, ops.multiply(multiplier, x)))


# `x`, with 0 for gradients that are not finite, such as that of a root at 0, and 0 times infinity.
_with_finite_gradient = backend.custom_gradient(
    lambda x: (x + 0.0, ()), lambda _, gradient: (ops.where(ops.isfinite(gradient), gradient, 0.0),)
)


def _multiplied(f, inputs, references):
    """The rule for a function f(a, b) that is linear in a and in b: f(da, mean b) + f(mean a, db) = df."""
    (a, b), (a0, b0) = inputs, references
    mean_a, mean_b = (ops.stop_gradient((x + x0) / 2) for x, x0 in ((a, a0), (b, b0)))
    return _with_value(f(a, b), f(a, mean_b) + f(mean_a, b))


def _all_multiplied(f, inputs, references):
    """The same rule for a layer that multiplies a list of tensors, applied to one after the other."""

    def multiply(a, b):
        return f([a, b])

    (product, *others), (product0, *others0) = inputs[0], references[0]
    for x, x0 in zip(others, others0, strict=True):
        product, product0 = _multiplied(multiply, (product, x), (product0, x0)), multiply(product0, x0)
    return product


def _pooled(f, inputs, references):
    """The rule for maximum pooling in two dimensions."""
    # As given: operations keep integers, and `None`.
    pooling, y = f.func, f(*inputs)
    size = pair(pooling.pool_size, "pool_size")
    strides = size if pooling.strides is None else pair(pooling.strides, "strides")
    first = standardize_data_format(pooling.data_format) == "channels_first"

    def windows(image):
        image = ops.moveaxis(image, 1, -1) if first else image
        return pooling_windows(image, size, strides, pooling.padding, outside=-np.inf)

    surrogate = _largest(windows(inputs[0]), windows(references[0]), axis=-2)
    return _with_value(y, ops.moveaxis(surrogate, -1, 1) if first else surrogate)


def _globally_pooled(f, inputs, references):
    """The rule for the maximum over all positions."""
    first = f.func.data_format == "channels_first"
    y = f(*inputs)

    def positions(image):
        image = ops.moveaxis(image, 1, -1) if first else image
        return ops.reshape(image, (ops.shape(image)[0], -1, image.shape[3]))

    return _with_value(y, ops.reshape(_largest(positions(inputs[0]), positions(references[0]), axis=1), ops.shape(y)))


def _largest(values, references, axis):
    """A surrogate whose gradient is that of the maximum over an axis by the rule for maximum pooling."""
    largest, largest0 = ops.max(values, axis=axis), ops.max(references, axis=axis)
    grew = largest >= largest0
    chosen = ops.expand_dims(ops.where(grew, ops.argmax(values, axis=axis), ops.argmax(references, axis=axis)), axis)
    x, x0 = (ops.squeeze(ops.take_along_axis(v, chosen, axis=axis), axis) for v in (values, references))
    # This change is at least as large as that of the maximum. It is 0 only where the inputs are equal.
    change = x - x0
    multiplier = ops.where(change == 0, 1.0, (largest - largest0) / ops.where(change == 0, 1.0, change))
    return ops.stop_gradient(multiplier) * x


_RULES = {"rescale": _rescaled, "max_pooling": _pooled, "global_max_pooling": _globally_pooled}
