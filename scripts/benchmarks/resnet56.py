"""ResNet-56 for small images (He et al., 2016, 4.2), with shortcuts without parameters (their option A)."""

import keras
from keras import layers, ops

from keras_coda.layers.settings import at_least_float32

BLOCKS, WIDTHS = 9, (16, 32, 64)


def resnet56(image_shape, classes, dtype=None):
    """A Functional model that gives logits: 6 x 9 + 2 layers, 853,018 trainable parameters for 10 classes."""
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())

    def convolve(x, filters, strides=1):
        x = layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            data_format="channels_last",
            dtype=policy,
        )(x)
        return layers.BatchNormalization(dtype=policy)(x)

    def activate(x):
        return layers.Activation("relu", dtype=policy)(x)

    images = keras.Input(image_shape, name="images", dtype=policy.compute_dtype)
    x = activate(convolve(images, WIDTHS[0]))
    for width in WIDTHS:
        for block in range(BLOCKS):
            halves = block == 0 and width != WIDTHS[0]
            shortcut = x
            if halves:
                shortcut = ops.pad(x[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])])
            y = activate(convolve(x, width, strides=2 if halves else 1))
            x = activate(layers.Add(dtype=policy)([convolve(y, width), shortcut]))
    x = layers.GlobalAveragePooling2D(data_format="channels_last", dtype=policy)(x)
    logits = layers.Dense(classes, dtype=at_least_float32(policy.variable_dtype))(x)
    return keras.Model(images, logits, name="resnet56")
