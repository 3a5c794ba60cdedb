"""Adam with its epsilon after the bias correction."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_coda")
class Adam(keras.optimizers.Adam):
    """Adam as Kingma & Ba (2015, algorithm 1) write it, and as PyTorch has it.

    A step is `learning_rate * m_hat / (sqrt(v_hat) + epsilon)`. Keras adds epsilon to sqrt(v), before the bias
    correction. Both have the same steps where gradients are much larger than epsilon. A CoDA-Net's gradients are not:
    they shrink with 1/T, and at T = 1000 most are below 1e-7.

    Args:
        learning_rate, beta_1, beta_2, amsgrad: as for `keras.optimizers.Adam`.
        epsilon: number, added to sqrt(v_hat), the root of the corrected second moment.
        **kwargs: as for `keras.optimizers.Adam`.

    Example:

    >>> model.compile(keras_coda.optimizers.Adam(2.5e-4), keras_coda.losses.OneVsRestCrossentropy())
    >>> keras.optimizers.get("keras_coda>Adam").epsilon    # by name, once keras_coda is imported
    1e-08
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        name: str = "adam",
        **kwargs,
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, name=name, **kwargs)

    # Kept by hand: Keras adds epsilon to the root of the second moment before its bias correction.
    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        if self.amsgrad:
            largest = self._velocity_hats[index]
            self.assign(largest, ops.maximum(largest, v))
            v = largest
        m_hat = m / _one_minus_power(self.beta_1, step)
        v_hat = v / _one_minus_power(self.beta_2, step)
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * m_hat / (ops.sqrt(v_hat) + self.epsilon))


def _one_minus_power(beta, step):
    """1 - beta^step without cancellation where the power is near 1."""
    return -ops.expm1(step * math.log(beta)) if beta else 1.0
