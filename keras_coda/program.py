"""Computations with a user's model that Keras compiles and batches."""

from typing import Any

import keras

from keras_coda import backend


class Program(keras.Model):
    """A computation with the layers of a user's model, which Keras' `predict` compiles and batches.

    Subclasses override `call`. They keep the layers that they call in attributes, so that Keras finds the weights. JAX
    would take weights that Keras does not find for constants.

    Args:
        name: string.
        dtype: dtype policy to compute in. Default: the layers' own.
    """

    def __init__(self, name: str, dtype: Any = None):
        # Keras' dtype policy of now may be another one than the model's.
        super().__init__(name=name, dtype=dtype, autocast=dtype is not None)
        # It has no weights of its own. Keras would otherwise build it by an eager call on the first batch.
        self.built = True

    def predict(self, x, batch_size=None, *args, **kwargs):
        # PyTorch takes no integers of NumPy.
        batch_size = None if batch_size is None else int(batch_size)
        with backend.one_at_a_time, backend.weights_kept(self):
            return super().predict(x, batch_size, *args, **kwargs)
