"""The place in a model from which on contributions are taken."""

import keras

from keras_coda.linear_maps.linear_map import identity


@keras.saving.register_keras_serializable(package="keras_coda")
class ContributionSource(keras.layers.Layer):
    """Passes on its inputs, which are what contributes in explanations, as behind a stem that has no linear map.

    Without it the encoded image contributes, or the model's input; see `keras_coda.Explainer`.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Input and output shape:
        Any.

    Example:

    >>> features = keras_coda.layers.ContributionSource()(stem(images))
    """

    # For `keras_coda.explanations.parts`.
    is_source = True

    def linear_map(self, inputs):
        """The inputs and the matrix that changes nothing, for explanations from a layer further ahead."""
        return inputs, identity()

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
