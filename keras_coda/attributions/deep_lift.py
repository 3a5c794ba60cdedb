"""DeepLIFT: differences of the output from that for a baseline, followed back through every layer."""

import functools

import keras
import numpy as np
from keras import ops

from keras_coda.attributions import baseline as baselines
from keras_coda.attributions import graph
from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.pull_back import PullBack, pulled_back
from keras_coda.backend.conventions import standardize_data_format
from keras_coda.linear_maps.known import known
from keras_coda.linear_maps.steps import describe
from keras_coda.linear_maps.views import view

# Differences smaller than this share of the values are computed too inaccurately to divide by.
_SMALL = 1e-4


class DeepLIFT(Attribution):
    """Contributions to the difference from the output for a baseline, by the rescale rule, `(N, H, W, C)`.

    Shrikumar et al. (2017, 3.5.1). They add up to that difference. Linear layers pass on multipliers as gradients.
    Others have one of these rules:

    - nonlinearities of one number, such as ReLU: change of the output divided by that of the input, or the derivative
      where the input hardly changes. Softmax counts as one, of each logit by itself; better explain logits.
    - maximum pooling: a window's change goes to its largest input of the image where the maximum grew, and of the
      baseline where it shrank, as in Captum.
    - products of two activations: each has the change of its own, times the other's mean of image and baseline.

    DAU layers, and others with a `linear_map` of their own, have no rule and are differentiated. So DeepLIFT equals
    input x gradient on CoDA-Nets with the baseline 0, as in the published scores, and does not add up there.

    Args:
        model: see `Attribution`.
        baseline: a number, or an array that broadcasts to the (encoded) images: one for all, or one an image.
        batch_size: integer, how many images the model is given at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: a layer or operation has no rule, and is named; the baseline does not fit the images (when called).

    Example:

    >>> resnet = keras.applications.ResNet50(classifier_activation=None)  # doctest: +SKIP
    >>> keras_coda.attributions.DeepLIFT(resnet)(images)  # doctest: +SKIP
    """

    def __init__(self, model, baseline=0.0, batch_size=32, input="encoded"):
        super().__init__(model, batch_size, input)
        self.baseline = baseline
        self._multipliers = _Multipliers(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        baseline = baselines.broadcast(self.baseline, source)
        multipliers = self._multipliers.gradients(source, targets, self.batch_size, verbose, baseline=baseline)
        return multipliers * (source - baseline)[:, None]


class _Multipliers(PullBack):
    """The gradients of a network with rules in the place of its nonlinear operations.

    The network is run for the baseline first, where the inputs of these operations are noted, in the order in which
    the rules come to need them.
    """

    def __init__(self, classifier):
        super().__init__(classifier)
        for operation in graph.operations(self.network):
            _rule(operation)  # an error now rather than in a compiled graph

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

        return pulled_back(explained, inputs["source"], inputs["targets"])[0]

    def _run(self, source, apply):
        return graph.run(self.network, source, lambda operation: _replacement(operation, apply))


def _replacement(operation, apply):
    """What is called in the place of an operation: `apply(rule, operation, ...)` where it has a rule."""
    rule = _rule(operation)
    if rule is not None:
        return functools.partial(apply, rule, operation)
    activation = getattr(operation, "activation", None)
    if activation in (None, keras.activations.linear):
        return operation
    return view(operation, activation=functools.partial(apply, _rescaled, activation))


def _rule(operation):
    """The rule for an operation, or `None` for one that is differentiated."""
    kind = known(operation).deep_lift
    if kind is None and hasattr(operation, "linear_map"):
        return None
    is_layer = isinstance(operation, keras.Layer)
    inputs = 1 if is_layer else len(operation._inbound_nodes[0].input_tensors)
    if kind == "multiply" and (is_layer or inputs > 1):
        return _all_multiplied if is_layer else _multiplied
    if kind in ("linear", "multiply"):
        return None
    if kind in _RULES and inputs == 1:
        return _RULES[kind]
    raise ValueError(
        "DeepLIFT has no rule for this part of the model. Expected: convolutions and dense layers, activations, "
        f"pooling, and layers that are linear. Received: {describe(operation)}"
    )


def _with_value(value, surrogate):
    """`value`, with the gradient of `surrogate`."""
    return surrogate + ops.stop_gradient(value - surrogate)


def _rescaled(f, inputs, references):
    """The rescale rule, for a function of the one input that is not a constant."""
    (i,) = [i for i, (x, x0) in enumerate(zip(inputs, references, strict=True)) if x is not x0]
    x, x0 = inputs[i], references[i]
    y, y0 = f(*inputs), f(*references)
    change = x - x0
    small = ops.abs(change) <= _SMALL * (ops.abs(x) + ops.abs(x0))
    multiplier = ops.stop_gradient((y - y0) / ops.where(small, 1.0, change))
    return ops.where(small, y, _with_value(y, multiplier * x))


def _multiplied(f, inputs, references):
    """The rule for f(a, b) that is linear in each of two activations: f(da, mean b) + f(mean a, db) = df."""
    (a, b), (a0, b0) = inputs, references
    mean_a, mean_b = (ops.stop_gradient((x + x0) / 2) for x, x0 in ((a, a0), (b, b0)))
    return _with_value(f(a, b), f(a, mean_b) + f(mean_a, b))


def _all_multiplied(f, inputs, references):
    """The same for a layer that multiplies a list, one after the other."""

    def multiply(a, b):
        return f([a, b])

    (product, *others), (product0, *others0) = inputs[0], references[0]
    for x, x0 in zip(others, others0, strict=True):
        product, product0 = _multiplied(multiply, (product, x), (product0, x0)), multiply(product0, x0)
    return product


def _pooled(f, inputs, references):
    """The rule for maximum pooling in two dimensions."""
    pooling, x, y = f.func, inputs[0], f(*inputs)
    first = standardize_data_format(pooling.data_format) == "channels_first"
    axes = (2, 3) if first else (1, 2)
    kernel = _pair(pooling.pool_size)
    strides = kernel if pooling.strides is None else _pair(pooling.strides)
    padding = [(0, 0)] * 4
    if pooling.padding == "same":
        for axis, size, stride in zip(axes, kernel, strides, strict=True):
            total = (ops.shape(y)[axis] - 1) * stride + size - ops.shape(x)[axis]
            total = (total + abs(total)) // 2  # not negative; sizes may be tensors
            padding[axis] = (total // 2, total - total // 2)

    def windows(image):
        image = ops.pad(image, padding, constant_values=-np.inf)
        parts = []
        for offsets in np.ndindex(*kernel):
            index = [slice(None)] * 4
            for axis, offset, size, stride in zip(axes, offsets, kernel, strides, strict=True):
                index[axis] = slice(offset, offset - size + 1 or None, stride)
            parts.append(image[tuple(index)])
        return ops.stack(parts, axis=1)

    return _with_value(y, _largest(windows(x), windows(references[0])))


def _globally_pooled(f, inputs, references):
    """The rule for the maximum over all positions."""
    first = f.func.data_format == "channels_first"
    y = f(*inputs)

    def positions(image):
        image = ops.moveaxis(image, 1, -1) if first else image
        return ops.reshape(image, (ops.shape(image)[0], -1, image.shape[3]))

    return _with_value(y, ops.reshape(_largest(positions(inputs[0]), positions(references[0])), ops.shape(y)))


def _largest(values, references):
    """What has the gradient of the maximum over axis 1, by the rule for maximum pooling."""
    largest, largest0 = ops.max(values, axis=1), ops.max(references, axis=1)
    grew = largest >= largest0
    chosen = ops.expand_dims(ops.where(grew, ops.argmax(values, axis=1), ops.argmax(references, axis=1)), 1)
    x, x0 = (ops.squeeze(ops.take_along_axis(v, chosen, axis=1), 1) for v in (values, references))
    # At least as large as that of the maximum, and 0 only where the inputs are equal.
    change = x - x0
    multiplier = ops.where(change == 0, 1.0, (largest - largest0) / ops.where(change == 0, 1.0, change))
    return ops.stop_gradient(multiplier) * x


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)


_RULES = {"rescale": _rescaled, "max_pooling": _pooled, "global_max_pooling": _globally_pooled}
