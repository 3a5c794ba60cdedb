"""Which axis of a tensor in a model holds the channels."""

import keras
import pytest
from keras import layers, ops

import keras_coda
from keras_coda.linear_maps import Graph, LinearMap
from keras_coda.linear_maps.layout import channel_axis

# Each takes the last axis of images to the place of the first one.
PERMUTATIONS = {
    "Permute": lambda x: layers.Permute((3, 1, 2))(x),
    "transpose": lambda x: ops.transpose(x, (0, -1, 1, 2)),
    "moveaxis": lambda x: ops.moveaxis(x, -1, 1),
    "moveaxis of two": lambda x: ops.moveaxis(x, (1, 3), (-2, -3)),
    "swapaxes": lambda x: ops.swapaxes(x, -1, 1),
}


@pytest.mark.one_backend
@pytest.mark.parametrize("name", PERMUTATIONS)
def test_the_channel_axis_follows_a_permutation(name):
    images = keras.Input((4, 5, 3))
    before = PERMUTATIONS[name](layers.Conv2D(3, 1, data_format="channels_last")(images))
    graph = Graph.of(keras.Model(images, before))
    assert channel_axis(graph, graph.outputs[0]) == 1
    after = layers.Conv2D(2, 1, data_format="channels_first")(PERMUTATIONS[name](images))
    graph = Graph.of(keras.Model(images, after))
    assert [channel_axis(graph, number) for number in (graph.inputs[0], graph.steps[-1].sources[0])] == [3, 1]


class Named(layers.Layer):
    data_format = "NHWC"

    def call(self, x):
        return 2 * x

    def linear_map(self, x):
        return 2 * x, LinearMap(lambda v: 2 * v, lambda u: 2 * u)


@pytest.mark.one_backend
def test_a_format_of_another_name_tells_nothing(rng):
    images = keras.Input((4, 5, 3))
    model = keras.Model(images, layers.Flatten()(layers.Conv2D(2, 1, data_format="channels_last")(Named()(images))))
    graph = Graph.of(model)
    assert channel_axis(graph, graph.inputs[0]) == 3
    x = rng.random((2, 4, 5, 3), "float32")
    assert keras_coda.explain(model, x, 0).relative_residual.max() < 1e-5
