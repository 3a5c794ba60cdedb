"""The input encoding [r, g, b, 1 - r, 1 - g, 1 - b] (paper, 3.4)."""

import math

import keras
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor, standardize_data_format
from keras_coda.layers.unit_range import TOLERANCE, check_unit_range, to_unit_range

# `TOLERANCE` in training, where augmentation and strong noise are allowed. Images in 0..255 are still detected.
TRAINING_TOLERANCE = 8.0


def _checked(images, training):
    """Images as floats. Images out of range raise an error, or become NaN where values cannot be read cheaply."""
    tolerance = TRAINING_TOLERANCE if training else TOLERANCE
    # Reading a value waits for the device. In training that is cheap on a CPU only.
    readable = backend.is_concrete(images) and (not training or backend.runs_on_cpu())
    if readable:
        check_unit_range(images, tolerance)
    if keras.backend.is_int_dtype(images.dtype):
        tolerance = 0.0
    images = to_unit_range(images, check=False)
    if readable or keras.backend.standardize_dtype(images.dtype) == "bool" or len(images.shape) < 2:
        return images
    axes = tuple(range(1, len(images.shape)))
    low, high = (extreme(images, axis=axes, keepdims=True) for extreme in (ops.min, ops.max))
    in_range = ops.logical_and(low >= -tolerance, high <= 1 + tolerance)
    return ops.where(in_range, images, ops.cast(math.nan, images.dtype))


@keras.saving.register_keras_serializable(package="keras_coda")
class InputEncoding(keras.layers.Layer):
    """Adds the negative image as further channels: [r, g, b, 1 - r, 1 - g, 1 - b] (paper, 3.4).

    The norm of its input bounds a DAU's output, which favours bright pixels. After the encoding, dark pixels can
    contribute as much as bright ones. Contributions are those of the encoded image. For bright strokes on a black
    background, which means nothing, use `add_negative=False`: then only the strokes contribute.

    Integer tensors are divided by 255. They must arrive here as integers: a model with a float `keras.Input` casts them
    to floats before.

    Integers outside 0..255 are an error, and so are floats outside [0, 1] by more than 0.25. In training, where
    augmentation may leave the range, the limit for floats is 8. A compiled graph cannot raise errors, and in training,
    values on an accelerator are not read. In both cases an image out of range becomes NaN, and so do its logits and the
    loss.

    Args:
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        add_negative: whether the negative image is added, as in the paper.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input shape:
        `(N, ..., C)`, or `(N, C, H, W)` with "channels_first"; values in [0, 1].

    Output shape:
        The same with 2 C channels, or C without the negative.

    Raises:
        ValueError: values are NaN or out of range, see above; images do not have as many channels as the first ones.

    Example:

    >>> keras_coda.layers.InputEncoding()(np.array([[[[0.25, 0.5, 1.0]]]]))
    [[[[0.25, 0.5, 1.0, 0.75, 0.5, 0.0]]]]
    """

    # For `keras_coda.explanations.parts`.
    is_source = True

    def __init__(self, data_format: str | None = None, add_negative: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.add_negative = add_negative
        self.data_format = standardize_data_format(data_format)
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape):
        # Otherwise the layer behind would complain, of twice as many channels.
        self.input_spec = keras.layers.InputSpec(axes={self.channel_axis: input_shape[self.channel_axis]})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return self.encode(ops.cast(_checked(inputs, training), self.compute_dtype))

    def encode(self, images: Tensor) -> Tensor:
        """The encoding of float images `(N, ..., C)` (or `(N, C, H, W)`), whatever their range."""
        return ops.concatenate([images, 1.0 - images], axis=self.channel_axis) if self.add_negative else images

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        shape = list(input_shape)
        if shape[self.channel_axis] is None:
            raise ValueError(f"Expected images with a known number of channels. Received: input_shape={input_shape}")
        shape[self.channel_axis] *= 2 if self.add_negative else 1
        return tuple(shape)

    def get_config(self) -> dict:
        return {**super().get_config(), "add_negative": self.add_negative, "data_format": self.data_format}
