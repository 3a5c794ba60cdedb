"""Temperature and fixed bias of the logits (paper, eq. 9)."""

import math

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor
from keras_coda.linear_maps.linear_map import LinearMap

# The published b0: a probability of 0.1 for every class before any evidence.
LOGIT_BIAS = math.log(0.1 / 0.9)


@keras.saving.register_keras_serializable(package="keras_coda")
class LogitScaling(keras.layers.Layer):
    """Scales the outputs of a CoDA-Net to logits: `x / T + b0` (paper, eq. 9).

    The higher the temperature T, the better a network's weights must align with its input for a confident logit
    (paper, 3.3).

    Args:
        temperature: T, a positive number.
        bias: b0, a fixed number, not trained. Default: log(0.1 / 0.9), as published.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input and output shape:
        Any.

    Raises:
        ValueError: `temperature` is not positive, or infinite.

    Example:

    >>> keras_coda.layers.LogitScaling(temperature=10.0, bias=-1.0)(np.array([[20.0, 50.0]]))
    [[1.0, 4.0]]
    """

    def __init__(self, temperature: float = 1.0, bias: float = LOGIT_BIAS, **kwargs):
        super().__init__(**kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {temperature!r}")
        self.temperature = float(temperature)
        self.bias = float(bias)

    def linear_map(self, inputs: Tensor) -> tuple[Tensor, LinearMap]:
        """The layer's outputs, and the map that made them, with b0 as its `offset`.

        Args:
            inputs: tensor.

        Returns:
            `(outputs, LinearMap)`.
        """

        def scale(v):
            return v / self.temperature

        W = LinearMap(scale, scale, offset=self.bias or None)
        return W @ ops.cast(inputs, self.compute_dtype) + self.bias, W

    def call(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.linear_map(inputs)
        return outputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "temperature": self.temperature, "bias": self.bias}
