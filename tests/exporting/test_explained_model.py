"""The model that an export writes, for layers of a user."""

import keras
import numpy as np
import pytest
from reference import relative_error
from small_models import IMAGE_SHAPE, small_coda_net

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


@pytest.mark.one_backend
def test_probabilities_whatever_keras_policy_of_the_moment(rng, low_precision):
    model, images = small_coda_net(), rng.random((3, *IMAGE_SHAPE), "float32")
    logits = model.predict(images, verbose=0).astype("float64")
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    for name, want in (
        ("sigmoid", 1 / (1 + np.exp(-logits))),
        ("softmax", powers / powers.sum(axis=-1, keepdims=True)),
    ):
        with low_precision():
            outputs = ExplainedModel(model, probabilities=name)(images)
        assert relative_error(keras.ops.convert_to_numpy(outputs["probabilities"]), want) < 1e-5
