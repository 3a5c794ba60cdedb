"""ResNet-56 for small images: the baseline that the paper's supplement compares CoDA-Nets with."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_coda.backend.conventions import at_least_float32, in_format, standardize_data_format

WIDTHS = (16, 32, 64)


@keras.saving.register_keras_serializable(package="keras_coda")
class ResNet56(keras.Model):
    """The residual network of He et al. (2016, 4.2) for CIFAR-10: 6 x 9 + 2 layers, 853,018 trainable parameters.

    Where the image shrinks, shortcuts take every other pixel and add channels of zeros (their option A). The
    published training is SGD with momentum 0.9, weight decay 1e-4 and batches of 128 for 64,000 steps. The learning
    rate is 0.1, divided by 10 after 32,000 and 48,000 steps. Images have their mean subtracted, and are flipped and
    cropped at random, with 4 pixels of padding.

    Args:
        classes: integer, number of classes.
        blocks: integer, residual blocks of each width; 9 makes 56 layers, 3 make ResNet-20.
        image_shape: shape of the images without the batch axis; sizes may be `None` (any), as grids of images need.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        **kwargs: `name`, `dtype` and `trainable` of every Keras model. Logits are in at least float32.

    Input shape:
        `(N, H, W, C)`, or `(N, C, H, W)` with "channels_first".

    Output shape:
        `(N, classes)`, logits, for a softmax.

    Raises:
        ValueError: `blocks` or `classes` is not positive.

    Example:

    >>> model = keras_coda.models.ResNet56()
    >>> model.compile(keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-4),
    ...               keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    """

    def __init__(
        self,
        classes: int = 10,
        blocks: int = 9,
        image_shape: Sequence[int | None] | None = None,
        data_format: str | None = None,
        dtype: Any = None,
        **kwargs,
    ):
        for name, value in (("classes", classes), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"`{name}` must be positive. Received: {value}")
        data_format = standardize_data_format(data_format)
        last = data_format == "channels_last"
        if image_shape is None:
            image_shape = in_format((None, None, 3), data_format)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        common = {"data_format": data_format, "dtype": policy}

        def convolve(x, filters, strides=1):
            # The same padding on both sides. Keras' "same" has more after than before at stride 2.
            x = layers.ZeroPadding2D(1, **common)(x)
            x = layers.Conv2D(filters, 3, strides=strides, use_bias=False, kernel_initializer="he_normal", **common)(x)
            return layers.BatchNormalization(axis=-1 if last else 1, dtype=policy)(x)

        def activate(x):
            return layers.Activation("relu", dtype=policy)(x)

        def shrink(x, added):
            x = x[:, ::2, ::2] if last else x[:, :, ::2, ::2]
            return ops.pad(x, [(0, 0), *in_format([(0, 0), (0, 0), (0, added)], data_format)])

        images = keras.Input(image_shape, name="images", dtype=policy.compute_dtype)
        x = activate(convolve(images, WIDTHS[0]))
        for before, width in zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False):
            for block in range(blocks):
                shrinks = block == 0 and width != before
                shortcut = shrink(x, width - before) if shrinks else x
                y = activate(convolve(x, width, strides=2 if shrinks else 1))
                x = activate(layers.Add(dtype=policy)([convolve(y, width), shortcut]))
        x = layers.GlobalAveragePooling2D(**common)(x)
        logits = layers.Dense(classes, dtype=at_least_float32(policy.variable_dtype), name="logits")(x)
        super().__init__(inputs=images, outputs=logits, **kwargs)
        # Functional models do not set this. `compile` reads it to decide on loss scaling, for float16.
        self.dtype_policy = policy
        self.classes = classes
        self.blocks = blocks
        self.image_shape = tuple(image_shape)
        self.data_format = data_format

    def get_config(self) -> dict:
        return {
            "classes": self.classes,
            "blocks": self.blocks,
            "image_shape": self.image_shape,
            "data_format": self.data_format,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ResNet56":
        with keras.saving.CustomObjectScope(custom_objects or {}):
            return cls(**config)
