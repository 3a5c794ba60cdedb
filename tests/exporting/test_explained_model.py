"""The model that an export writes, for layers of a user."""

import keras
import pytest

import keras_coda
from keras_coda.exporting.explained_model import ExplainedModel


class Noise(keras.layers.Layer):
    """Its `call` takes `training`. Its `compute_output_spec` does not, as Keras allows."""

    def call(self, inputs, training=None):
        return inputs

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@pytest.mark.one_backend
def test_the_size_of_maps_behind_a_users_own_layer():
    images = keras.Input((6, 5, 3))
    features = keras_coda.layers.InputEncoding("channels_last")(Noise()(images))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(features)))
    assert ExplainedModel(model).map_size((6, 5, 3)) == [6, 5]
