"""The compared networks: this project's, the same with materialised weights, plain convolutions, ResNet-56."""

import contextlib

import keras
from keras import layers, ops

import keras_coda
from benchmarks.materialised import MaterialisedDAUConv2D
from keras_coda.backend.conventions import at_least_float32


def ours(layout, image_shape, dtype=None):
    """This project's CoDA-Net."""
    return keras_coda.CoDANet(**layout, image_shape=image_shape, data_format="channels_last", dtype=dtype)


def materialised(layout, image_shape, dtype=None):
    """The same network, with dynamic weights that are built at every position."""

    def step(x, n, kernel_size, rank, stride, policy):
        return MaterialisedDAUConv2D(n, kernel_size, rank, stride, dtype=policy)(x)

    return _chain("materialised", step, layout, image_shape, dtype)


def floor(layout, image_shape, dtype=None):
    """The convolutions alone: a layer has n (r + 1) + r filters, and the next layer gets the mean of r + 1 groups of n.

    The contraction with z and the norms are left out, with their multiply-adds.
    """

    def step(x, n, kernel_size, rank, stride, policy):
        if kernel_size % 2 == 0:
            around = (kernel_size - 1) // 2
            x = layers.ZeroPadding2D(around, data_format="channels_last", dtype=policy)(x)
        x = layers.Conv2D(
            n * (rank + 1) + rank,
            kernel_size,
            strides=stride,
            padding="same" if kernel_size % 2 else "valid",  # the same number of positions as with symmetric padding
            use_bias=False,
            # The mean keeps the scale of the activations, since very small (subnormal) numbers are slow.
            kernel_initializer=keras.initializers.VarianceScaling(rank + 1),
            data_format="channels_last",
            dtype=policy,
        )(x)
        groups = ops.reshape(x[..., : n * (rank + 1)], (-1, *x.shape[1:3], rank + 1, n))
        return ops.mean(groups, axis=-2)

    return _chain("floor", step, layout, image_shape, dtype)


def _chain(name, step, layout, image_shape, dtype):
    """A CoDA-Net with `step(x, n, kernel_size, rank, stride, policy)` in place of its DAU layers."""
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    logits_dtype = at_least_float32(policy.variable_dtype)
    images = keras.Input(image_shape, name="images", dtype=policy.compute_dtype)
    x = keras_coda.layers.InputEncoding(data_format="channels_last", dtype=policy)(images)
    lists = (layout[key] for key in ("filters", "kernel_sizes", "ranks", "strides"))
    for arguments in zip(*lists, strict=True):
        x = step(x, *arguments, policy)
    x = keras_coda.layers.SumPooling2D(data_format="channels_last", dtype=logits_dtype)(x)
    logits = keras_coda.layers.LogitScaling(layout["temperature"], dtype=logits_dtype)(x)
    return keras.Model(images, logits, name=name)


BUILDERS = {
    "ours": ours,
    "materialised": materialised,
    "floor": floor,
    "resnet56": lambda layout, image_shape, dtype=None: keras_coda.models.ResNet56(
        layout["filters"][-1], image_shape=image_shape, data_format="channels_last", dtype=dtype
    ),
}

TITLES = {
    "ours": "this project",
    "materialised": "materialised weights",
    "floor": "plain convolutions (floor)",
    "resnet56": "ResNet-56",
}


def build(name, layout, image_size, dtype, remat=False):
    """The network called `name`, compiled. With `remat`, DAU layers keep only their inputs for the backward pass."""
    layers = [f"dau_{number}" for number in range(1, len(layout["filters"]) + 1)]
    with keras.RematScope("list_of_layers", layer_names=layers) if remat else contextlib.nullcontext():
        model = BUILDERS[name](layout, (image_size, image_size, 3), dtype)
    model.compile(keras.optimizers.Adam(2.5e-4), keras_coda.OneVsRestCrossentropy())
    return model
