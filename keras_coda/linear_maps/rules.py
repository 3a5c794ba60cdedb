"""The linear maps of Keras' own layers: what an explanation needs of each, in `keras.ops` alone.

A layer of any other class takes part by having a method `linear_map(inputs)` that returns `(outputs, LinearMap)`,
as the DAU layers do.
"""

import functools

import keras
from keras import layers, ops

from keras_coda.linear_maps.convolution import convolve, convolve_transpose, fold
from keras_coda.linear_maps.linear_map import LinearMap, identity


class NotDynamicLinearError(ValueError):
    """A layer or model computes no W(x) x that could be decomposed into contributions."""

    # Keras would add the arguments of the call it came from; the message says all there is to say.
    _keras_call_info_injected = True


def describe(layer):
    """A layer as error messages name it."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


@functools.singledispatch
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
    if not hasattr(layer, "linear_map"):
        raise NotDynamicLinearError(
            f"The {describe(layer)} is not dynamic linear: its output is no W(x) x known here, so that no "
            "contributions can be read off. A layer of your own can say what its W(x) is in a method "
            "`linear_map(inputs)`, see `keras_coda.LinearMap`."
        )
    return layer.linear_map(inputs)


def _require_linear(layer):
    activation = keras.activations.serialize(layer.activation)
    if activation != "linear":
        raise NotDynamicLinearError(
            f"The {describe(layer)} is not dynamic linear: it has the activation {activation!r}. Expected: none."
        )


def _fixed(layer, inputs, apply, transpose, offset=None):
    """Outputs and map of a layer whose matrix does not depend on its input."""
    inputs = ops.cast(inputs, layer.compute_dtype)
    outputs = apply(inputs)
    return (outputs if offset is None else outputs + offset), LinearMap(apply, transpose, offset)


def _in_channels_last(layer, transform):
    """`transform`, written for `(..., H, W, C)`, for the layer's data format."""
    if layer.data_format == "channels_last":
        return transform
    return lambda v: ops.moveaxis(transform(ops.moveaxis(v, -3, -1)), -1, -3)


@linear_map.register(layers.InputLayer)
@linear_map.register(layers.Identity)
@linear_map.register(layers.ActivityRegularization)
@linear_map.register(layers.Dropout)
@linear_map.register(layers.SpatialDropout2D)
@linear_map.register(layers.GaussianDropout)
@linear_map.register(layers.GaussianNoise)
def _(layer, inputs):
    return inputs, identity()


@linear_map.register
def _(layer: layers.Activation, inputs):
    _require_linear(layer)
    return inputs, identity()


@linear_map.register
def _(layer: layers.Rescaling, inputs):
    def scale(v):
        return v * ops.convert_to_tensor(layer.scale, dtype=layer.compute_dtype)

    offset = ops.convert_to_tensor(layer.offset, dtype=layer.compute_dtype)
    has_offset = bool(ops.any(ops.convert_to_tensor(layer.offset) != 0)) if layer.offset else False
    return _fixed(layer, inputs, scale, scale, offset if has_offset else None)


@linear_map.register
def _(layer: layers.Flatten, inputs):
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


@linear_map.register
def _(layer: layers.Reshape, inputs):
    before = ops.shape(inputs)[1:]
    outputs = layer(inputs)
    after = ops.shape(outputs)[1:]

    def apply(v):
        return ops.reshape(v, (*ops.shape(v)[: -len(before)], *after))

    def transpose(u):
        return ops.reshape(u, (*ops.shape(u)[: -len(after)], *before))

    return outputs, LinearMap(apply, transpose)


@linear_map.register
def _(layer: layers.Permute, inputs):
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


@linear_map.register
def _(layer: layers.ZeroPadding2D, inputs):
    apply = _in_channels_last(layer, lambda v: _pad(v, *layer.padding))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _crop(u, *layer.padding)))


@linear_map.register
def _(layer: layers.Cropping2D, inputs):
    apply = _in_channels_last(layer, lambda v: _crop(v, *layer.cropping))
    return _fixed(layer, inputs, apply, _in_channels_last(layer, lambda u: _pad(u, *layer.cropping)))


@linear_map.register
def _(layer: layers.UpSampling2D, inputs):
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


@linear_map.register
def _(layer: layers.GlobalAveragePooling2D, inputs):
    axes = (-3, -2) if layer.data_format == "channels_last" else (-2, -1)
    image = ops.shape(inputs)[1:]
    count = ops.cast(image[axes[0]] * image[axes[1]], layer.compute_dtype)

    def transpose(u):
        u = u if layer.keepdims else ops.expand_dims(u, axes)
        return ops.broadcast_to(u / count, (*ops.shape(u)[:-3], *image))

    return _fixed(layer, inputs, lambda v: ops.mean(v, axis=axes, keepdims=layer.keepdims), transpose)


@linear_map.register
def _(layer: layers.AveragePooling2D, inputs):
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


@linear_map.register
def _(layer: layers.Dense, inputs):
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
    arguments = (kernel, layer.strides, layer.padding)
    return _fixed(
        layer,
        inputs,
        _in_channels_last(layer, lambda v: convolve(v, *arguments, layer.dilation_rate)),
        _in_channels_last(layer, lambda u: convolve_transpose(u, *arguments, size, layer.dilation_rate)),
        offset,
    )


@linear_map.register
def _(layer: layers.Conv2D, inputs):
    _require_linear(layer)
    if layer.groups != 1:
        raise NotDynamicLinearError(
            f"The {describe(layer)} has no linear map here for groups={layer.groups}. Expected: 1."
        )
    return _convolution(layer, inputs, ops.cast(layer.kernel, layer.compute_dtype))


@linear_map.register
def _(layer: layers.DepthwiseConv2D, inputs):
    _require_linear(layer)
    depthwise = ops.cast(layer.kernel, layer.compute_dtype)
    rows, columns, channels, multiplier = depthwise.shape
    # The kernel of the equal full convolution, zero between different channels.
    full = ops.expand_dims(depthwise, 3) * ops.reshape(
        ops.eye(channels, dtype=depthwise.dtype), (channels, channels, 1)
    )
    return _convolution(layer, inputs, ops.reshape(full, (rows, columns, channels, channels * multiplier)))
