"""DeepLIFT: completeness of networks of every kind of layer, NumPy by hand, and what it refuses."""

import keras
import numpy as np
import pytest
import tiny_models
from keras import layers, ops
from small_models import small_coda_net
from tiny_models import CLASSES, IMAGE_SHAPE, draw_weights

from keras_coda.attributions import DeepLIFT, Gradient, InputXGradient

LAST = {"data_format": "channels_last"}
TARGETS = np.array([[1, 3], [0, 2]])


def pooled(*pools):
    stack = [keras.Input(IMAGE_SHAPE), layers.Conv2D(4, 3, **LAST), layers.ReLU(), *pools]
    return keras.Sequential([*stack, layers.Flatten(**LAST), layers.Dense(CLASSES)])


def activations():
    """Fused ones and layers of their own, of every shape, and operations of Keras."""
    x = inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.4, 0.5, 0.6])(layers.Rescaling(2.0, -0.3)(x))
    x = layers.Conv2D(4, 3, activation="relu", **LAST)(layers.ZeroPadding2D(1, **LAST)(x))
    x = layers.SeparableConv2D(4, 3, activation="gelu", **LAST)(x)
    x = layers.LeakyReLU(0.3)(layers.BatchNormalization()(layers.DepthwiseConv2D(2, **LAST)(x)))
    x = layers.Conv2DTranspose(3, 2, strides=2, activation="elu", **LAST)(x)
    x = layers.PReLU(alpha_initializer="ones")(layers.ELU()(layers.Activation("softplus")(x)))
    x = layers.Dropout(0.5)(layers.AveragePooling2D(2, **LAST)(x))
    x = ops.maximum(ops.sqrt(ops.relu(x / 0.5) + 1.0) ** 3, 0.9)
    x = layers.Dense(7, activation="sigmoid")(layers.Flatten(**LAST)(0.05 * x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="tanh")(x))


def branches():
    """Residual branches, squeeze and excitation, other products of activations, a nested model used twice."""
    inputs = keras.Input(IMAGE_SHAPE)
    block_input = keras.Input((12, 10, 4))
    x = layers.Conv2D(4, 3, padding="same", activation="silu", **LAST)(block_input)
    gate = layers.GlobalAveragePooling2D(keepdims=True, **LAST)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", **LAST)(layers.Conv2D(2, 1, activation="relu", **LAST)(gate))
    x = layers.Add()([layers.Multiply()([x, gate]), block_input])
    block = keras.Model(block_input, layers.ReLU()(x))
    x = block(block(layers.Conv2D(4, 3, padding="same", **LAST)(inputs)))
    x = layers.Concatenate()([x * x, layers.Multiply()([x, 0.5 * x, ops.sigmoid(x)])])
    x = layers.Concatenate()([layers.GlobalMaxPooling2D(**LAST)(x), layers.GlobalAveragePooling2D(**LAST)(x)])
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))


NETWORKS = {
    "activations": activations,
    "branches": branches,
    "max pooling": lambda: pooled(layers.MaxPooling2D(2, **LAST), layers.Conv2D(3, 2, **LAST), layers.ReLU()),
    "max pooling, same": lambda: pooled(layers.MaxPooling2D((3, 2), strides=(2, 3), padding="same", **LAST)),
    "max pooling, overlapping": lambda: pooled(
        layers.MaxPooling2D(3, strides=1, **LAST), layers.MaxPooling2D(2, **LAST)
    ),
    "global max pooling": lambda: pooled(layers.GlobalMaxPooling2D(keepdims=True, **LAST)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_complete(name):
    """Contributions sum up to the difference from the baseline's output, and the model is as it was."""
    model = draw_weights(NETWORKS[name]())
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.abs(np.array(layer.moving_variance)) + 0.1)
    images, baselines = tiny_models.images(), tiny_models.images(seed=1)
    outputs = model.predict(images, verbose=0)
    difference = outputs - model.predict(baselines, verbose=0)
    assert np.abs(difference).max() > 0.01
    got = DeepLIFT(model, baseline=baselines)(images, "all")
    np.testing.assert_allclose(got.sum(axis=(2, 3, 4)), difference, atol=1e-4 * np.abs(difference).max())
    np.testing.assert_array_equal(model.predict(images, verbose=0), outputs)


def by_hand(kernel, bias, weights, image, baseline):
    """Multipliers of relu(x kernel + bias) weights for x of one image, window by window: `(P, C)` to `(P, C, K)`."""
    hidden, hidden0 = image @ kernel + bias, baseline @ kernel + bias
    multipliers = (np.maximum(hidden, 0) - np.maximum(hidden0, 0)) / (hidden - hidden0)
    return np.einsum("cf,pf,pfk->pck", kernel, multipliers, weights)


def test_rescale_rule_in_numpy():
    stack = [keras.Input(IMAGE_SHAPE), layers.Conv2D(5, 1, activation="relu", **LAST), layers.Flatten(**LAST)]
    model = draw_weights(keras.Sequential([*stack, layers.Dense(CLASSES)]))
    kernel, bias, weights, _ = (np.array(w, "float64") for w in model.get_weights())
    images, baseline = tiny_models.images(), np.array([0.3, 0.9, 0.1])
    want = []
    for image in images.reshape(2, -1, 3):
        multipliers = by_hand(kernel[0, 0], bias, weights.reshape(-1, 5, CLASSES), image, np.tile(baseline, (120, 1)))
        contributions = multipliers * (image - baseline)[..., np.newaxis]
        want.append(np.moveaxis(contributions, -1, 0).reshape(CLASSES, *IMAGE_SHAPE))
    np.testing.assert_allclose(DeepLIFT(model, baseline)(images, "all"), want, atol=1e-5)


def test_max_pooling_in_numpy():
    """Of a window, the change goes to the largest of the image where the maximum grew, else to that of the baseline."""
    model = draw_weights(
        keras.Sequential(
            [keras.Input(IMAGE_SHAPE), layers.MaxPooling2D(2, **LAST), layers.Flatten(**LAST), layers.Dense(CLASSES)]
        )
    )
    weights = model.get_weights()[0].reshape(6, 5, 3, CLASSES)
    (image, baseline), want = tiny_models.images(), np.zeros((CLASSES, *IMAGE_SHAPE))
    for row, column, channel in np.ndindex(6, 5, 3):
        window = (slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2), channel)
        change = image[window].max() - baseline[window].max()
        largest = np.argmax((image if change > 0 else baseline)[window])
        for target in range(CLASSES):
            want[target][window].flat[largest] = change * weights[row, column, channel, target]
    np.testing.assert_allclose(DeepLIFT(model, baseline)(image[np.newaxis], "all")[0], want, atol=1e-6)


def test_is_the_gradient_where_nothing_changes():
    """The multipliers of an image that is its own baseline are its gradients; its contributions are 0."""
    model = draw_weights(pooled(layers.MaxPooling2D(2, **LAST), layers.Activation("tanh")))
    images = tiny_models.images()
    method = DeepLIFT(model, baseline=images)
    assert not method(images, TARGETS).any()
    nearly = DeepLIFT(model, baseline=images - 1e-3)(images, TARGETS) / 1e-3
    gradient = Gradient(model)(images, TARGETS)
    assert np.linalg.norm(nearly - gradient) < 0.05 * np.linalg.norm(gradient)


def test_equals_input_x_gradient_on_coda_nets():
    """As in the published scores."""
    settings = {"filters": [CLASSES], "kernel_sizes": [3], "ranks": [2], "strides": [2]}
    model, images = draw_weights(small_coda_net(image_shape=IMAGE_SHAPE, **settings)), tiny_models.images()
    want = InputXGradient(model)(images, TARGETS)
    np.testing.assert_allclose(DeepLIFT(model)(images, TARGETS), want, atol=1e-6 * np.abs(want).max())


class Doubled(layers.Conv2D):
    """A layer of a user's own, of a class that has a rule."""

    def call(self, inputs):
        return super().call(inputs) ** 2


def summed(function):
    inputs = keras.Input(IMAGE_SHAPE)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten(**LAST)(function(inputs))))


REFUSED = {
    "layer normalisation": (layers.LayerNormalization(name="norm"), r"layer 'norm' \(LayerNormalization\)"),
    "lambda": (layers.Lambda(lambda x: x**2, output_shape=IMAGE_SHAPE, name="own"), r"layer 'own' \(Lambda\)"),
    "subclass": (Doubled(2, 3, name="doubled"), r"layer 'doubled' \(.*Doubled\)"),
    "two activations": (lambda x: ops.maximum(x, x + 1), r"\(Maximum\)"),
    "weights of the model": (lambda x: ops.average(x, axis=-1, weights=ops.sigmoid(x)), r"\(Average\)"),
    "operation": (lambda x: ops.sort(x, axis=1), r"\(Sort\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_parts_without_a_rule(name):
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"has no rule for this part of the model.*Received: .*{message}"):
        DeepLIFT(summed(function))


def test_an_infinite_derivative():
    """That of a root at 0, where ReLUs of the image, of the baseline or of both are 0."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = ops.sqrt(layers.Conv2D(4, 3, activation="relu", **LAST)(inputs))
    model = draw_weights(keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten(**LAST)(x))))
    images, baselines = tiny_models.images(), tiny_models.images(seed=1)
    features = [keras.Model(inputs, x).predict(values, verbose=0) for values in (images, baselines)]
    assert {(a, b) for a, b in np.stack(features, axis=-1).reshape(-1, 2) == 0} == set(np.ndindex(2, 2))
    difference = model.predict(images, verbose=0) - model.predict(baselines, verbose=0)
    got = DeepLIFT(model, baseline=baselines)(images, "all")
    np.testing.assert_allclose(got.sum(axis=(2, 3, 4)), difference, atol=1e-4 * np.abs(difference).max())


def test_layers_of_another_dtype_than_their_inputs():
    """A softmax and poolings in float32 after layers in bfloat16."""
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", dtype="mixed_bfloat16", **LAST)(inputs)
    x = layers.GlobalMaxPooling2D(dtype="float32", **LAST)(layers.MaxPooling2D(2, dtype="float32", **LAST)(x))
    x = layers.Dense(CLASSES, dtype="mixed_bfloat16")(x)
    model = draw_weights(keras.Model(inputs, layers.Activation("softmax", dtype="float32")(x)))
    images = tiny_models.images()
    difference = model.predict(images, verbose=0) - model.predict(0 * images, verbose=0)
    got = DeepLIFT(model)(images, "all").sum(axis=(2, 3, 4))
    np.testing.assert_allclose(got, difference, atol=0.05 * np.abs(difference).max())


def test_refuses_baselines():
    with pytest.raises(ValueError, match=r"`baseline` must be a number.*Received: shape \(4,\)"):
        DeepLIFT(tiny_models.linear(), baseline=np.zeros(4))(tiny_models.images())
