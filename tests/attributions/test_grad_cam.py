"""Grad-CAM: against NumPy where the gradients are known, in branches and nested models, and what it refuses."""

import keras
import numpy as np
import pytest
import tiny_models
from keras import layers
from skimage.transform import resize
from tiny_models import CLASSES, IMAGE_SHAPE, draw_weights

from keras_coda import DAUConv2D
from keras_coda.attributions import GradCAM
from keras_coda.layers import SumPooling2D

TARGETS = np.array([[1, 3], [0, 2]])


def convolution(filters, **kwargs):
    return layers.Conv2D(filters, 3, data_format="channels_last", **kwargs)


def averaged(inputs, features):
    """A model of which the classes are weighted sums of the channels' means."""
    means = layers.GlobalAveragePooling2D(data_format="channels_last")(features)
    return draw_weights(keras.Model(inputs, layers.Dense(CLASSES, name="classes")(means)))


def want_of(features, weights, size=IMAGE_SHAPE[:2]):
    """The maps `(N, K, H, W)` for features `(N, h, w, C)` with mean gradients `(N, K, C)` in the targets."""
    small = np.maximum(np.einsum("nhwc,nkc->nkhw", features, weights), 0)
    assert small.any()
    # Bilinear, with pixels as areas and no smoothing.
    large = [[resize(m, size, order=1, mode="edge", anti_aliasing=False) for m in maps] for maps in small]
    return np.array(large)


@pytest.mark.parametrize("strides", [2, 3])
def test_enlarged_to_the_nearest_pixel(strides):
    inputs = keras.Input(IMAGE_SHAPE)
    last = convolution(5, strides=strides)
    model = averaged(inputs, last(inputs))
    images = tiny_models.images()
    features = output_of(model, last, images)
    weights = class_weights(model, features.shape[1] * features.shape[2])
    small = np.maximum(np.einsum("nhwc,nkc->nkhw", features, weights), 0)
    # The small pixel that the centre of a large one is in.
    rows, columns = (
        (np.arange(large) + 0.5) * few // large for large, few in zip(IMAGE_SHAPE, small.shape[2:], strict=False)
    )
    want = small[:, :, rows.astype(int)][..., columns.astype(int)]
    np.testing.assert_allclose(GradCAM(model, interpolation="nearest")(images, TARGETS), want, atol=1e-6)
    with pytest.raises(ValueError, match=r"`interpolation` must be one of .*Received: 'cubic'"):
        GradCAM(model, interpolation="cubic")


def class_weights(model, positions):
    """The gradients of `averaged`'s targets in the features."""
    return np.moveaxis(model.get_layer("classes").get_weights()[0][:, TARGETS], 0, -1) / positions


def output_of(model, layer, images):
    return keras.Model(model.inputs, layer.output).predict(images, verbose=0)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_last_convolution(activation):
    """An activation of its own is part of the layer."""
    inputs = keras.Input(IMAGE_SHAPE)
    last = convolution(5, strides=2, activation=activation, name="last")
    model = averaged(inputs, last(convolution(4)(inputs)))
    images = tiny_models.images()
    features = output_of(model, last, images)
    want = want_of(features, class_weights(model, features.shape[1] * features.shape[2]))
    got = GradCAM(model)(images, TARGETS)
    np.testing.assert_allclose(got, want, atol=1e-6)
    for layer in ("last", last):
        np.testing.assert_allclose(GradCAM(model, layer, batch_size=1)(images, TARGETS), got, atol=1e-6)
    np.testing.assert_allclose(GradCAM(model)(images, TARGETS[:, 0]), got[:, 0], atol=1e-6)


def test_convolutions_of_one_position_are_no_default():
    """Squeeze and excitation after the last convolution, and a classifier that is a convolution, as in MobileNet."""
    inputs = keras.Input(IMAGE_SHAPE)
    last = convolution(5, padding="same")(convolution(4)(inputs))
    pool = layers.GlobalAveragePooling2D(keepdims=True, data_format="channels_last")
    gate = layers.Conv2D(5, 1, activation="sigmoid", name="gate", data_format="channels_last")(pool(last))
    classes = layers.Conv2D(CLASSES, 1, data_format="channels_last")(pool(layers.Multiply()([last, gate])))
    model = draw_weights(keras.Model(inputs, layers.Flatten()(classes)))
    found = GradCAM(model)
    assert found.layer.output is last
    assert np.all(np.ptp(found(tiny_models.images(), TARGETS), axis=(-2, -1)) > 0)
    # It can be named, and its maps are the same everywhere.
    assert np.all(np.ptp(GradCAM(model, "gate")(tiny_models.images(), TARGETS), axis=(-2, -1)) < 1e-6)


def test_layer_in_a_branch():
    """Gradients pass by the layer, so that its output alone does not determine the model's."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = convolution(5, padding="same")(inputs)
    branch = convolution(5, padding="same", name="branch")
    model = averaged(inputs, layers.ReLU()(layers.Add()([branch(x), x])) - 0.2 * x)
    images = tiny_models.images()
    added = output_of(model, next(layer for layer in model.layers if isinstance(layer, layers.Add)), images)
    gradients = class_weights(model, 120)[:, :, np.newaxis, np.newaxis] * (added > 0)[:, np.newaxis]
    want = want_of(output_of(model, branch, images), gradients.mean(axis=(2, 3)))
    np.testing.assert_allclose(GradCAM(model)(images, TARGETS), want, atol=1e-6)


def test_layer_in_nested_models():
    inputs = keras.Input(IMAGE_SHAPE)
    inner = keras.Sequential([keras.Input((10, 8, 4)), convolution(5, name="inner")])
    outer = keras.Sequential([keras.Input(IMAGE_SHAPE), convolution(4), inner])
    model = averaged(inputs, outer(inputs))
    images = tiny_models.images()
    features = outer.predict(images, verbose=0)
    want = want_of(features, class_weights(model, features.shape[1] * features.shape[2]))
    np.testing.assert_allclose(GradCAM(model)(images, TARGETS), want, atol=1e-6)
    np.testing.assert_allclose(GradCAM(model, "inner")(images, TARGETS), want, atol=1e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_last_dau_layer(data_format):
    """Its channels are the classes, and are summed: the target's own channel is left."""
    last = data_format == "channels_last"
    stack = [
        keras.Input(IMAGE_SHAPE if last else (IMAGE_SHAPE[-1], *IMAGE_SHAPE[:-1])),
        DAUConv2D(5, 3, rank=2, strides=2, data_format=data_format),
        DAUConv2D(CLASSES, 3, rank=2, data_format=data_format),
        SumPooling2D(data_format=data_format),
    ]
    model, images = draw_weights(keras.Sequential(stack)), tiny_models.images()
    images = images if last else np.moveaxis(images, -1, 1)
    features = output_of(model, model.layers[-2], images)
    features = features if last else np.moveaxis(features, 1, -1)
    np.testing.assert_allclose(
        GradCAM(model)(images, TARGETS), want_of(features, np.eye(CLASSES)[TARGETS]), rtol=1e-4, atol=1e-6
    )


def test_channels_are_where_the_graph_has_them():
    """After a permutation, of a layer that has no data format."""
    inputs = keras.Input((IMAGE_SHAPE[-1], *IMAGE_SHAPE[:-1]))
    last = layers.ReLU(name="relu")
    model = averaged(inputs, last(convolution(5)(layers.Permute((2, 3, 1))(inputs))))
    images = np.moveaxis(tiny_models.images(), -1, 1)
    features = output_of(model, last, images)
    want = want_of(features, class_weights(model, features.shape[1] * features.shape[2]))
    np.testing.assert_allclose(GradCAM(model, "relu")(images, TARGETS), want, atol=1e-6)


def test_coda_net_and_an_earlier_layer():
    model, images = tiny_models.coda_net(), tiny_models.images()
    first, last = (layer for layer in model.layers if isinstance(layer, DAUConv2D) and layer.filters in (5, CLASSES))
    assert GradCAM(model).layer is last
    maps = GradCAM(model, first)(images, "all")
    assert maps.shape == (2, CLASSES, *IMAGE_SHAPE[:2])
    assert maps.min() == 0 < maps.max()


def test_refuses_models_and_layers():
    dense = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(name="flat"), layers.Dense(2)])
    with pytest.raises(
        ValueError, match=r"needs a convolution with several positions.*Received: a model of the layers.*'flat'"
    ):
        GradCAM(dense)
    with pytest.raises(ValueError, match=r"one of .*'flat'.*Received: 'unknown'"):
        GradCAM(dense, "unknown")
    with pytest.raises(ValueError, match=r"outputs \(N, H, W, C\). Received: layer 'flat' with \(None, 360\)"):
        GradCAM(dense, "flat")
    with pytest.raises(ValueError, match=r"one of .*Received: <Conv2D"):
        GradCAM(dense, layers.Conv2D(3, 3))


def test_refuses_a_layer_used_twice():
    inputs = keras.Input(IMAGE_SHAPE)
    shared = layers.Conv2D(3, 3, padding="same", data_format="channels_last", name="shared")
    model = averaged(inputs, shared(shared(inputs)))
    with pytest.raises(ValueError, match=r"used once. Received: layer 'shared', which the model uses 2 times"):
        GradCAM(model)(tiny_models.images())
