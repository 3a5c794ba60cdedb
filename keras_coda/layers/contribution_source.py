"""A layer that marks where in a model contributions start."""

import keras

from keras_coda.backend.conventions import Tensor
from keras_coda.linear_maps.linear_map import LinearMap, identity


@keras.saving.register_keras_serializable(package="keras_coda")
class ContributionSource(keras.layers.Layer):
    """Passes its inputs on, and marks them as what contributes in explanations.

    It is for models with a stem that has no linear map: contributions are then those of the stem's features. Without
    it, the encoded image or the model's input contributes, see `keras_coda.Explainer`.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input and output shape:
        Any.

    Example:

    >>> features = keras_coda.layers.ContributionSource()(stem(images))
    """

    # For `keras_coda.explanations.parts`.
    is_source = True

    def linear_map(self, inputs: Tensor) -> tuple[Tensor, LinearMap]:
        """The inputs and the identity, for explanations whose source is an earlier layer.

        Args:
            inputs: tensor.

        Returns:
            `(outputs, LinearMap)`.
        """
        return inputs, identity()

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
