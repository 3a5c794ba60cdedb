"""The input encoding [r, g, b, 1 - r, 1 - g, 1 - b] (paper, 3.4), and the range of values it takes."""

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import standardize_data_format

# How far outside [0, 1] a value may lie: room for the overshoot of a bicubic resize and for mild noise, while
# images in 0..255, in [-1, 1], or normalised by mean and deviation are found out.
TOLERANCE = 0.25


def to_unit_range(images, check=True):
    """Images as floats in [0, 1]: integer images are divided by 255, float ones must be there already.

    Args:
        images: NumPy array or tensor of any shape.
        check: whether to look at the values, where they can be read (they cannot while a graph is traced).

    Returns:
        `images`, or a float32 array or tensor of the same shape where they were integers.

    Raises:
        ValueError: values are NaN, infinite, or plainly outside [0, 1] (by more than 0.25).
    """
    dtype = keras.backend.standardize_dtype(images.dtype)
    is_array = isinstance(images, np.ndarray)
    if keras.backend.is_int_dtype(dtype):
        images = images.astype("float32") / 255.0 if is_array else ops.cast(images, "float32") / 255.0
    if not check or 0 in images.shape or not (is_array or backend.is_concrete(images)):
        return images
    values = images if is_array else ops.convert_to_numpy(ops.stack([ops.min(images), ops.max(images)]))
    low, high = float(np.min(values)), float(np.max(values))
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # written so that NaN fails
        scaled = " after division by 255" if keras.backend.is_int_dtype(dtype) else ""
        raise ValueError(
            "Images must be floats in [0, 1], or integers in 0..255, which are divided by 255. "
            f"Received: {dtype} images with values from {low:g} to {high:g}{scaled}."
        )
    return images


@keras.saving.register_keras_serializable(package="keras_coda")
class InputEncoding(keras.layers.Layer):
    """Adds the negative image as further channels: [r, g, b, 1 - r, 1 - g, 1 - b] (paper, 3.4).

    A DAU's output is bounded by the norm of its input, which favours bright pixels; encoded, dark and bright
    pixels can contribute alike. Contributions are taken for the encoded image. For bright strokes on
    black, where black means nothing, leave the negative out: then the strokes alone contribute.

    Outside training, and where values can be read (not in a compiled graph), images plainly outside [0, 1] are an
    error. Integer tensors are divided by 255.

    Args:
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        add_negative: whether the negative image is added, as in the paper.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input shape:
        `(N, ..., C)`, or `(N, C, H, W)` with "channels_first"; values in [0, 1].

    Output shape:
        The same with 2 C channels, or C without the negative.

    Raises:
        ValueError: values are NaN or plainly outside [0, 1].

    Example:

    >>> keras_coda.layers.InputEncoding()(np.array([[[[0.25, 0.5, 1.0]]]]))
    [[[[0.25, 0.5, 1.0, 0.75, 0.5, 0.0]]]]
    """

    def __init__(self, data_format=None, add_negative=True, **kwargs):
        super().__init__(**kwargs)
        self.add_negative = add_negative
        self.data_format = standardize_data_format(data_format)
        self.channel_axis = -1 if self.data_format == "channels_last" else 1

    def call(self, inputs, training=None):
        return self.encode(ops.cast(to_unit_range(inputs, check=not training), self.compute_dtype))

    def encode(self, images):
        """The encoding of float images `(N, ..., C)` (or `(N, C, H, W)`), whatever their range."""
        return ops.concatenate([images, 1.0 - images], axis=self.channel_axis) if self.add_negative else images

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if shape[self.channel_axis] is None:
            raise ValueError(f"Expected images with a known number of channels. Received: input_shape={input_shape}")
        shape[self.channel_axis] *= 2 if self.add_negative else 1
        return tuple(shape)

    def get_config(self):
        return {**super().get_config(), "add_negative": self.add_negative, "data_format": self.data_format}
