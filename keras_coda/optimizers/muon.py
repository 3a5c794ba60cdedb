"""Muon for the kernels of DAU layers."""

import math
import re
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_coda")
class Muon(keras.optimizers.Muon):
    """Momentum whose updates are made orthogonal (Jordan et al., 2024), with DAU kernels taken as matrices.

    Keras' `Muon` takes variables of two axes only, and leaves all others to AdamW. The kernels of a `DAUConv2D` have up
    to five axes, but each is a matrix: it reads a patch of d numbers. This class sees A as (d, rank units), B as
    (d, rank) and b as (d, units). Momentum is Keras': m = momentum m + g, then g + momentum m with Nesterov. Let
    U S V^T be the singular value decomposition of that. Five steps of the Newton-Schulz iteration give about U V^T, and
    the update is

        kernel -= learning_rate (0.2 sqrt(max(rows, columns)) U V^T + weight_decay kernel)

    so that the root mean square of the first part is about 0.2 of the learning rate, whatever the gradient's size
    (Liu et al., 2025, as in Keras).

    All other variables are treated as Keras' `Muon` treats them: matrices likewise, the rest by AdamW.

    Patches of an image have a common direction, their mean, that outweighs all others. Gradients of DAU kernels are
    therefore badly conditioned, which Adam does not mend and this does. What was measured: `zoo/README.md`.

    Args:
        learning_rate: float, a `LearningRateSchedule`, or a function. Smaller networks and batches take
            0.02 to 0.03, S at a batch of 512 takes 0.006.
        weight_decay: float, decoupled, of DAU kernels and matrices. Keep `learning_rate * weight_decay` at most 0.015.
        iteration_dtype: string, dtype of the Newton-Schulz iteration. "bfloat16" is meant for GPUs. With it an update
            differs by 2 to 10 % from that in float32. Five steps leave singular values within about 30 % of 1 anyway.
            In short trainings of two networks no difference was clear (`zoo/README.md`). Default: "float32".
        name: string.
        **kwargs: as for `keras.optimizers.Muon`: `momentum`, `nesterov`, `ns_steps`, `rms_rate`, `clipnorm`,
            `exclude_layers`, ...

    Raises:
        ValueError: `iteration_dtype` is no floating-point dtype.

    Example:

    >>> model.compile(keras_coda.optimizers.Muon(0.03), keras_coda.OneVsRestCrossentropy(), metrics=["accuracy"])
    """

    def __init__(
        self,
        learning_rate: Any = 0.03,
        weight_decay: float = 0.3,
        iteration_dtype: str = "float32",
        name: str = "muon",
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        if not keras.backend.is_float_dtype(iteration_dtype):
            raise ValueError(f"`iteration_dtype` must be a floating-point dtype. Received: {iteration_dtype!r}")
        self.iteration_dtype = iteration_dtype

    # Keras calls this to decide a variable's state and weight decay.
    def _should_use_adamw(self, variable):
        if not hasattr(variable, "patch_axes"):
            return super()._should_use_adamw(variable)
        return any(re.search(keyword, variable.path) for keyword in self.exclude_layers)

    # Kept by hand: Keras takes variables of two axes only.
    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        # `variable` may be TensorFlow's own, under `tf.distribute`.
        axes = getattr(self._trainable_variables[index], "patch_axes", None)
        # Keras keeps this velocity only for variables of AdamW.
        if axes is None or self.adam_velocities[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        m = self.momentums[index]
        self.assign(m, self.momentum * m + gradient)
        direction = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.reshape(direction, (math.prod(variable.shape[:axes]), -1))
        update = learning_rate * self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(update), variable.shape))

    def zeropower_via_newtonschulz5(self, x, steps):
        # Keras adds 1e-7 to the norm, more than a DAU kernel's gradient may have.
        largest = ops.max(ops.abs(x))
        x = ops.cast(x / ops.where(largest > 0, largest, 1.0), self.iteration_dtype)
        return ops.cast(super().zeropower_via_newtonschulz5(x, steps), largest.dtype)

    def get_config(self):
        return {**super().get_config(), "iteration_dtype": self.iteration_dtype}
