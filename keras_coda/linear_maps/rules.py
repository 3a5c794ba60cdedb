"""The linear maps of Keras' own layers, in `keras.ops`.

Each function takes a layer and its inputs, and returns `(outputs, LinearMap)` in inference, before the layer's
activation. The table `keras_coda.linear_maps.known` says which function belongs to which layer.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_coda.backend.conventions import channels_last, move_axis
from keras_coda.linear_maps.by_gradient import linear_function, transposed
from keras_coda.linear_maps.convolution import (
    convolve,
    convolve_transpose,
    dilate,
    fold,
    patches_transpose,
    pooling_windows,
)
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError, identity


def _fixed(layer, inputs, apply, transpose, offset=None):
    """The outputs and the map of a layer whose matrix does not depend on its input."""

    def in_compute_dtype(function):
        return lambda v: function(ops.cast(v, layer.compute_dtype))

    W = LinearMap(in_compute_dtype(apply), in_compute_dtype(transpose), offset)
    outputs = W @ inputs
    return (outputs if offset is None else outputs + offset), W


def _in_channels_last(layer, transform):
    """`transform`, a function of images `(..., H, W, C)`, for images in the layer's data format."""
    if layer.data_format == "channels_last":
        return transform
    return lambda v: move_axis(transform(move_axis(v, -3, -1)), -1, -3)


def identity_layer(layer, inputs):
    return inputs, identity()


def rescaling(layer, inputs):
    scale, offset = (ops.convert_to_tensor(value, dtype=layer.compute_dtype) for value in (layer.scale, layer.offset))
    if len(scale.shape) and keras.config.image_data_format() == "channels_first":
        # As Keras does it, by its setting, with the scale but not with the offset.
        scale = ops.reshape(scale, (*scale.shape, *[1] * (3 - len(scale.shape))))
    return _fixed(layer, inputs, lambda v: v * scale, lambda u: u * scale, offset if np.any(layer.offset) else None)


def flatten(layer, inputs):
    image = ops.shape(inputs)[1:]
    channels_first = layer.data_format == "channels_first" and len(image) > 1
    if channels_first:
        image = (*image[1:], image[0])

    def apply(v):
        v = move_axis(v, -len(image), -1) if channels_first else v
        return ops.reshape(v, (*ops.shape(v)[: -len(image)], math.prod(image)))

    def transpose(u):
        u = ops.reshape(u, (*ops.shape(u)[:-1], *image))
        return move_axis(u, -1, -len(image)) if channels_first else u

    return _fixed(layer, inputs, apply, transpose)


def reshape(layer, inputs):
    outputs = layer(inputs)
    before, after = ops.shape(inputs)[1:], ops.shape(outputs)[1:]

    def to(shape, axes):
        return lambda v: ops.reshape(v, (*ops.shape(v)[: len(v.shape) - axes], *shape))

    return outputs, LinearMap(to(after, len(before)), to(before, len(after)))


def permute(layer, inputs):
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


def zero_padding2d(layer, inputs):
    apply = _in_channels_last(layer, lambda v: _pad(v, *layer.padding))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _crop(u, *layer.padding)))


def cropping2d(layer, inputs):
    apply = _in_channels_last(layer, lambda v: _crop(v, *layer.cropping))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _pad(u, *layer.cropping)))


def global_average_pooling2d(layer, inputs):
    axes = (-3, -2) if layer.data_format == "channels_last" else (-2, -1)
    image = ops.shape(inputs)[1:]
    share = ops.cast(1.0 / ops.cast(image[axes[0]] * image[axes[1]], "float32"), layer.compute_dtype)

    def transpose(u):
        u = u if layer.keepdims else ops.expand_dims(u, axes)
        return ops.broadcast_to(u * share, (*ops.shape(u)[:-3], *image))

    return _fixed(layer, inputs, lambda v: ops.mean(v, axis=axes, keepdims=layer.keepdims), transpose)


def up_sampling2d(layer, inputs):
    if layer.interpolation != "nearest":
        return linear_function(layer, inputs)
    rows, columns = layer.size

    def apply(v):
        return ops.repeat(ops.repeat(v, rows, axis=-3), columns, axis=-2)

    def transpose(u):
        height, width, channels = ops.shape(u)[-3:]
        blocks = (*ops.shape(u)[:-3], height // rows, rows, width // columns, columns, channels)
        return ops.sum(ops.reshape(u, blocks), axis=(-4, -2))

    return _fixed(layer, inputs, _in_channels_last(layer, apply), _in_channels_last(layer, transpose))


def average_pooling2d(layer, inputs):
    if layer.padding != "valid":
        # Keras' backends pad differently.
        return linear_function(layer, inputs)
    # No convolution of single channels: on CPUs oneDNN's are wrong for some strides.
    arguments, size, count = (layer.pool_size, layer.strides, "valid"), _size(layer, inputs), math.prod(layer.pool_size)

    def apply(v):
        return fold(lambda images: ops.average_pool(images, *arguments, data_format="channels_last"), v, 3)

    def transpose(u):
        return patches_transpose(ops.concatenate([u / count] * count, axis=-1), *arguments, size)

    return _fixed(layer, inputs, _in_channels_last(layer, apply), _in_channels_last(layer, transpose))


def batch_normalization(layer, inputs):
    """A scale and an offset, by the moving mean and variance, which are constants in inference."""
    shape = [1] * len(inputs.shape[1:])
    shape[(layer.axis if layer.axis < 0 else layer.axis - len(inputs.shape)) % len(shape)] = -1
    # In float32, as Keras computes, float64 included.
    dtype = keras.backend.result_type(layer.compute_dtype, "float32")

    def constant(weight):
        return ops.reshape(ops.cast(weight, dtype), shape)

    factor = ops.rsqrt(constant(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        factor = factor * constant(layer.gamma)
    offset = -constant(layer.moving_mean) * factor
    if layer.center:
        offset = offset + constant(layer.beta)

    def scale(v):
        return ops.cast(ops.cast(v, dtype) * factor, layer.compute_dtype)

    inputs = ops.cast(ops.cast(inputs, layer.compute_dtype), dtype)
    return ops.cast(inputs * factor + offset, layer.compute_dtype), LinearMap(scale, scale, offset)


def dense(layer, inputs):
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    offset = ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else None
    return _fixed(
        layer, inputs, lambda v: ops.matmul(v, kernel), lambda u: ops.matmul(u, ops.transpose(kernel)), offset
    )


def _size(layer, inputs):
    """Height and width of images in the layer's data format."""
    return channels_last(ops.shape(inputs)[1:], layer.data_format)[:2]


def _convolution(layer, inputs, apply, transpose):
    """The outputs and the map of a convolution, by two functions of channels-last images, with the layer's bias."""
    first = layer.data_format == "channels_first"
    offset = None
    if layer.use_bias:
        offset = ops.reshape(ops.cast(layer.bias, layer.compute_dtype), (-1, 1, 1) if first else (-1,))
    return _fixed(layer, inputs, _in_channels_last(layer, apply), _in_channels_last(layer, transpose), offset)


def _by_kernel(layer, inputs, kernel):
    """The convolution with `kernel (k, k, c, n)` and its transpose, as functions of channels-last images."""
    # The kernel is dilated here, since not all backends have a transposed convolution with dilation.
    arguments = (dilate(kernel, layer.dilation_rate), layer.strides, layer.padding)
    size = _size(layer, inputs)
    return lambda v: convolve(v, *arguments), lambda u: convolve_transpose(u, *arguments, size)


def conv2d(layer, inputs):
    kernel = ops.cast(layer.kernel, layer.compute_dtype)
    if layer.groups == 1:
        return _convolution(layer, inputs, *_by_kernel(layer, inputs, kernel))
    groups = [_by_kernel(layer, inputs, part) for part in ops.split(kernel, layer.groups, axis=-1)]

    def by_group(functions):
        def apply(image):
            parts = ops.split(image, layer.groups, axis=-1)
            return ops.concatenate([f(part) for f, part in zip(functions, parts, strict=True)], axis=-1)

        return apply

    return _convolution(layer, inputs, *map(by_group, zip(*groups, strict=True)))


def _depthwise(layer, inputs, kernel):
    """The convolution of each channel by itself and its transpose, as functions of channels-last images.

    `keras.ops` has no transposed depthwise convolution, so that the transpose is the gradient.
    """
    kernel = ops.cast(kernel, layer.compute_dtype)
    settings = (tuple(layer.strides), layer.padding, "channels_last", tuple(layer.dilation_rate))

    def convolve_channels(image):
        return ops.depthwise_conv(image, kernel, *settings)

    transpose = transposed(convolve_channels, (*_size(layer, inputs), kernel.shape[2]), layer.compute_dtype)
    return lambda v: fold(convolve_channels, v, 3), lambda u: fold(transpose, u, 3)


def depthwise_conv2d(layer, inputs):
    return _convolution(layer, inputs, *_depthwise(layer, inputs, layer.kernel))


def separable_conv2d(layer, inputs):
    apply, transpose = _depthwise(layer, inputs, layer.depthwise_kernel)
    pointwise = ops.cast(layer.pointwise_kernel, layer.compute_dtype)[0, 0]
    return _convolution(
        layer,
        inputs,
        lambda v: ops.matmul(apply(v), pointwise),
        lambda u: transpose(ops.matmul(u, ops.transpose(pointwise))),
    )


# Piecewise linear layers: the linear maps that they are at their inputs.


def max_pooling2d(layer, inputs):
    """Selects each window's largest number, the first of equal ones."""
    arguments, size = (layer.pool_size, layer.strides, layer.padding), _size(layer, inputs)
    image = ops.cast(inputs, layer.compute_dtype)
    image = move_axis(image, 1, -1) if layer.data_format == "channels_first" else image
    # Padded positions are -inf, so that none of them is the largest.
    largest = ops.argmax(pooling_windows(image, *arguments, outside=-np.inf), axis=-2)
    # Backends differ in where `one_hot` puts another axis than the last.
    chosen = move_axis(ops.one_hot(largest, math.prod(layer.pool_size), dtype=layer.compute_dtype), -1, -2)

    def apply(v):
        return ops.sum(pooling_windows(v, *arguments) * chosen, axis=-2)

    def transpose(u):
        spread = ops.expand_dims(u, -2) * chosen
        return patches_transpose(ops.reshape(spread, (*ops.shape(spread)[:-2], -1)), *arguments, size)

    return _fixed(layer, inputs, _in_channels_last(layer, apply), _in_channels_last(layer, transpose))


def global_max_pooling2d(layer, inputs):
    """Selects each channel's largest number, the first of equal ones."""
    height, width = _size(layer, inputs)
    first = layer.data_format == "channels_first"
    axes = (-2, -1) if first else (-3, -2)

    def flat(image):
        image = image if first else move_axis(image, -1, -3)
        return ops.reshape(image, (*ops.shape(image)[:-2], height * width))

    chosen = ops.one_hot(ops.argmax(flat(inputs), axis=-1), height * width, dtype=layer.compute_dtype)

    def apply(v):
        largest = ops.sum(flat(v) * chosen, axis=-1)
        return ops.expand_dims(largest, axes) if layer.keepdims else largest

    def transpose(u):
        u = ops.squeeze(u, axes) if layer.keepdims else u
        image = ops.expand_dims(u, -1) * chosen
        image = ops.reshape(image, (*ops.shape(image)[:-1], height, width))
        return image if first else move_axis(image, -3, -1)

    return _fixed(layer, inputs, apply, transpose)


def by_gradient(layer, inputs):
    """The map of a linear layer without weights, such as a resize."""
    if getattr(layer, "pad_to_aspect_ratio", False) and layer.fill_value:
        raise NotDynamicLinearError(
            f"The layer {layer.name!r} ({type(layer).__name__}) pads images with fill_value={layer.fill_value}, which "
            "has no linear map here. Expected: fill_value=0."
        )
    return linear_function(layer, inputs)
