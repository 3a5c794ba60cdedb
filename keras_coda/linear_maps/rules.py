"""The linear maps of Keras' own layers: what an explanation needs of each, in `keras.ops` alone.

A layer of any other class takes part by having a method `linear_map(inputs)` that returns `(outputs, LinearMap)`,
as the DAU layers do.
"""

import functools
import typing

import keras
import numpy as np
from keras import layers, ops

from keras_coda.linear_maps.convolution import convolve, convolve_transpose, dilate, fold
from keras_coda.linear_maps.linear_map import LinearMap, identity


class NotDynamicLinearError(ValueError):
    """A layer or model computes no W(x) x that could be decomposed into contributions."""

    # Keras would add the arguments of the call it came from; the message says all there is to say.
    _keras_call_info_injected = True


# The rule of each class of Keras' layers: a function of the layer and its inputs.
RULES: dict = {}


def _rule(*classes):
    def register(function):
        RULES.update(dict.fromkeys(classes, function))
        return function

    return register


def describe(layer):
    """A layer as error messages name it."""
    return f"layer {layer.name!r} ({getattr(layer, 'class_name', type(layer).__name__)})"


def linear_map(layer, inputs):
    """A layer's outputs for `inputs`, and the matrix W(inputs) that made them (paper, eq. 5).

    Args:
        layer: a built Keras layer, in inference mode.
        inputs: tensor of the shape that the layer takes, with a batch axis.

    Returns:
        `(outputs, W)`, with `outputs = W @ inputs`, plus `W.offset` where the layer adds a bias.

    Raises:
        NotDynamicLinearError: the layer is not dynamic linear, or not known to be.
    """
    known: typing.Any = next((cls for cls in type(layer).__mro__ if cls in RULES), None)
    # A subclass that computes something else is not what its parent is.
    if known is not None and layer.call.__func__ is known.call:
        return RULES[known](layer, inputs)
    if not hasattr(layer, "linear_map"):
        raise NotDynamicLinearError(
            f"The {describe(layer)} is not dynamic linear: its output is no W(x) x known here, so that no "
            "contributions can be read off. A layer of your own can say what its W(x) is in a method "
            "`linear_map(inputs)`, see `keras_coda.LinearMap`."
        )
    return layer.linear_map(inputs)


def _require_linear(layer):
    # Serialising imports TensorFlow where it is installed, whichever backend is active: only for the message.
    if layer.activation is keras.activations.linear:
        return
    activation = keras.activations.serialize(layer.activation)
    if activation != "linear":
        raise NotDynamicLinearError(
            f"The {describe(layer)} is not dynamic linear: it has the activation {activation!r}. Expected: none."
        )


def _fixed(layer, inputs, apply, transpose, offset=None):
    """Outputs and map of a layer whose matrix does not depend on its input."""

    def in_compute_dtype(function):
        return lambda v: function(ops.cast(v, layer.compute_dtype))

    W = LinearMap(in_compute_dtype(apply), in_compute_dtype(transpose), offset)
    outputs = W @ inputs
    return (outputs if offset is None else outputs + offset), W


def _in_channels_last(layer, transform):
    """`transform`, written for `(..., H, W, C)`, for the layer's data format."""
    if layer.data_format == "channels_last":
        return transform
    return lambda v: ops.moveaxis(transform(ops.moveaxis(v, -3, -1)), -1, -3)


@_rule(
    layers.InputLayer,
    layers.Identity,
    layers.ActivityRegularization,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.GaussianDropout,
    layers.GaussianNoise,
)
def _identity(layer, inputs):
    return inputs, identity()


@_rule(layers.Activation)
def _activation(layer, inputs):
    _require_linear(layer)
    return inputs, identity()


@_rule(layers.Rescaling)
def _rescaling(layer, inputs):
    def scale(v):
        return v * ops.convert_to_tensor(layer.scale, dtype=layer.compute_dtype)

    offset = ops.convert_to_tensor(layer.offset, dtype=layer.compute_dtype) if np.any(layer.offset) else None
    return _fixed(layer, inputs, scale, scale, offset)


@_rule(layers.Flatten)
def _flatten(layer, inputs):
    image = ops.shape(inputs)[1:]
    channels_first = layer.data_format == "channels_first" and len(image) > 1
    if channels_first:
        image = (*image[1:], image[0])

    def apply(v):
        v = ops.moveaxis(v, -len(image), -1) if channels_first else v
        return ops.reshape(v, (*ops.shape(v)[: -len(image)], functools.reduce(lambda a, b: a * b, image)))

    def transpose(u):
        u = ops.reshape(u, (*ops.shape(u)[:-1], *image))
        return ops.moveaxis(u, -1, -len(image)) if channels_first else u

    return _fixed(layer, inputs, apply, transpose)


@_rule(layers.Reshape)
def _reshape(layer, inputs):
    before = ops.shape(inputs)[1:]
    outputs = layer(inputs)
    after = ops.shape(outputs)[1:]

    def apply(v):
        return ops.reshape(v, (*ops.shape(v)[: -len(before)], *after))

    def transpose(u):
        return ops.reshape(u, (*ops.shape(u)[: -len(after)], *before))

    return outputs, LinearMap(apply, transpose)


@_rule(layers.Permute)
def _permute(layer, inputs):
    forward = [axis - 1 for axis in layer.dims]
    backward = sorted(range(len(forward)), key=forward.__getitem__)

    def permute(axes):
        def apply(v):
            leading = len(v.shape) - len(axes)
            return ops.transpose(v, [*range(leading), *(leading + axis for axis in axes)])

        return apply

    return _fixed(layer, inputs, permute(forward), permute(backward))


def _pad(image, rows, columns):
    return ops.pad(image, [(0, 0)] * (len(image.shape) - 3) + [rows, columns, (0, 0)])


def _crop(image, rows, columns):
    height, width = ops.shape(image)[-3:-1]
    return image[..., rows[0] : height - rows[1], columns[0] : width - columns[1], :]


@_rule(layers.ZeroPadding2D)
def _zero_padding2d(layer, inputs):
    apply = _in_channels_last(layer, lambda v: _pad(v, *layer.padding))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _crop(u, *layer.padding)))


@_rule(layers.Cropping2D)
def _cropping2d(layer, inputs):
    apply = _in_channels_last(layer, lambda v: _crop(v, *layer.cropping))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _pad(u, *layer.cropping)))


@_rule(layers.UpSampling2D)
def _up_sampling2d(layer, inputs):
    if layer.interpolation != "nearest":
        raise NotDynamicLinearError(
            f"The {describe(layer)} has no linear map here for interpolation={layer.interpolation!r}. "
            'Expected: "nearest".'
        )
    rows, columns = layer.size

    def transpose(u):
        height, width, channels = ops.shape(u)[-3:]
        blocks = (*ops.shape(u)[:-3], height // rows, rows, width // columns, columns, channels)
        return ops.sum(ops.reshape(u, blocks), axis=(-4, -2))

    return _fixed(layer, inputs, lambda v: fold(layer, v, 3), _in_channels_last(layer, transpose))


@_rule(layers.GlobalAveragePooling2D)
def _global_average_pooling2d(layer, inputs):
    axes = (-3, -2) if layer.data_format == "channels_last" else (-2, -1)
    image = ops.shape(inputs)[1:]
    share = ops.cast(1.0 / ops.cast(image[axes[0]] * image[axes[1]], "float32"), layer.compute_dtype)

    def transpose(u):
        u = u if layer.keepdims else ops.expand_dims(u, axes)
        return ops.broadcast_to(u * share, (*ops.shape(u)[:-3], *image))

    return _fixed(layer, inputs, lambda v: ops.mean(v, axis=axes, keepdims=layer.keepdims), transpose)


@_rule(layers.AveragePooling2D)
def _average_pooling2d(layer, inputs):
    if layer.padding != "valid":
        raise NotDynamicLinearError(
            f"The {describe(layer)} has no linear map here for padding={layer.padding!r}, in which Keras' backends "
            'differ. Expected: "valid", after a ZeroPadding2D layer where padding is wanted.'
        )
    kernel = ops.full((*layer.pool_size, 1, 1), 1.0 / (layer.pool_size[0] * layer.pool_size[1]), layer.compute_dtype)

    def by_channel(function):
        """Channels become images of one channel each."""

        def apply(image):
            single = ops.expand_dims(ops.moveaxis(image, -1, -3), -1)
            return ops.moveaxis(ops.squeeze(function(single), -1), -3, -1)

        return _in_channels_last(layer, apply)

    first = layer.data_format == "channels_first"
    size = ops.shape(inputs)[2:4] if first else ops.shape(inputs)[1:3]
    return _fixed(
        layer,
        inputs,
        by_channel(lambda v: convolve(v, kernel, layer.strides, "valid")),
        by_channel(lambda u: convolve_transpose(u, kernel, layer.strides, "valid", size)),
    )


@_rule(layers.Dense)
def _dense(layer, inputs):
    _require_linear(layer)
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    offset = ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else None
    return _fixed(
        layer, inputs, lambda v: ops.matmul(v, kernel), lambda u: ops.matmul(u, ops.transpose(kernel)), offset
    )


def _convolution(layer, inputs, kernel):
    first = layer.data_format == "channels_first"
    offset = None
    if layer.use_bias:
        offset = ops.reshape(ops.cast(layer.bias, layer.compute_dtype), (-1, 1, 1) if first else (-1,))
    size = ops.shape(inputs)[2:4] if first else ops.shape(inputs)[1:3]
    # Not every backend has transposed convolutions with dilation.
    arguments = (dilate(kernel, layer.dilation_rate), layer.strides, layer.padding)
    return _fixed(
        layer,
        inputs,
        _in_channels_last(layer, lambda v: convolve(v, *arguments)),
        _in_channels_last(layer, lambda u: convolve_transpose(u, *arguments, size)),
        offset,
    )


@_rule(layers.Conv2D)
def _conv2d(layer, inputs):
    _require_linear(layer)
    if layer.groups != 1:
        raise NotDynamicLinearError(
            f"The {describe(layer)} has no linear map here for groups={layer.groups}. Expected: 1."
        )
    return _convolution(layer, inputs, ops.cast(layer.kernel, layer.compute_dtype))


@_rule(layers.DepthwiseConv2D)
def _depthwise_conv2d(layer, inputs):
    _require_linear(layer)
    depthwise = ops.cast(layer.kernel, layer.compute_dtype)
    rows, columns, channels, multiplier = depthwise.shape
    # The kernel of the equal full convolution, zero between different channels.
    full = ops.expand_dims(depthwise, 3) * ops.reshape(
        ops.eye(channels, dtype=depthwise.dtype), (channels, channels, 1)
    )
    return _convolution(layer, inputs, ops.reshape(full, (rows, columns, channels, channels * multiplier)))
