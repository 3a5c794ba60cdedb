"""Sum over the positions of an image."""

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor, channels_last, standardize_data_format
from keras_coda.linear_maps.linear_map import LinearMap


@keras.saving.register_keras_serializable(package="keras_coda")
class SumPooling2D(keras.layers.Layer):
    """Sums each channel over all positions (paper, 4.1). In a CoDA-Net it comes before the scaling of the logits.

    Args:
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input shape:
        `(N, H, W, C)`, or `(N, C, H, W)` with "channels_first".

    Output shape:
        `(N, C)`.

    Example:

    >>> keras_coda.layers.SumPooling2D()(np.ones((1, 4, 4, 2)))
    [[16.0, 16.0]]
    """

    def __init__(self, data_format: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.spatial_axes = (-3, -2) if self.data_format == "channels_last" else (-2, -1)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def linear_map(self, inputs: Tensor) -> tuple[Tensor, LinearMap]:
        """The layer's outputs, and the matrix that made them (paper, eq. 5).

        Args:
            inputs: tensor of images.

        Returns:
            `(outputs, LinearMap)`.
        """
        image_shape = ops.shape(inputs)[-3:]

        def transpose(u):
            spread = ops.expand_dims(u, self.spatial_axes)
            return ops.broadcast_to(spread, (*ops.shape(u)[:-1], *image_shape))

        W = LinearMap(lambda v: ops.sum(v, axis=self.spatial_axes), transpose)
        return W @ ops.cast(inputs, self.compute_dtype), W

    def call(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.linear_map(inputs)
        return outputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], channels_last(input_shape[1:], self.data_format)[-1])

    def get_config(self) -> dict:
        return {**super().get_config(), "data_format": self.data_format}
