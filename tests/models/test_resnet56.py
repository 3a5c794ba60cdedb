"""ResNet-56: the published size, the network of the paper in NumPy, both data formats, and a round trip."""

import keras
import numpy as np
import pytest

from keras_coda.models import ResNet56


def convolve(x, kernel, stride):
    """A 3 x 3 convolution with one pixel of padding on both sides: `(N, H, W, C)`."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcf->nhwf", windows, kernel)


def resnet(model, images):
    """He et al. (2016) in float64, with the weights and running statistics of `model`."""
    parts = iter(layer for layer in model.layers if layer.weights)

    def block(x, stride):
        kernel = np.array(next(parts).kernel, "float64")
        norm = next(parts)
        mean, variance, gamma, beta = (
            np.array(value, "float64") for value in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
        )
        return (convolve(x, kernel, stride) - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta

    x = np.maximum(block(images, 1), 0)
    for width in (16, 32, 64):
        for _ in range(model.blocks):
            stride = 2 if x.shape[-1] != width else 1
            shortcut = np.pad(x[:, ::stride, ::stride], [(0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])])
            y = np.maximum(block(x, stride), 0)
            x = np.maximum(block(y, 1) + shortcut, 0)
    dense = next(parts)
    return x.mean((1, 2)) @ np.array(dense.kernel, "float64") + np.array(dense.bias, "float64")


@pytest.fixture(scope="module")
def small():
    model = ResNet56(classes=4, blocks=1, data_format="channels_last")
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.5, 1.5, w.shape) if "variance" in w.path else rng.normal(0, 0.2, w.shape) for w in model.weights]
    )
    return model


def test_it_has_the_published_size():
    model = ResNet56()
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 853_018
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 55


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_it_is_the_network_of_he_et_al(small, size):
    images = np.random.default_rng(1).random((2, *size, 3)).astype("float32")
    np.testing.assert_allclose(small.predict(images, verbose=0), resnet(small, images), rtol=1e-4, atol=1e-4)


def test_channels_first_has_the_same_weights_and_outputs_shape(small):
    model = ResNet56(classes=4, blocks=1, data_format="channels_first")
    model.set_weights(small.get_weights())
    assert model.input_shape == (None, 3, None, None)
    assert model.compute_output_shape((2, 3, 8, 8)) == (2, 4)


def test_it_survives_a_round_trip(small, tmp_path):
    path = tmp_path / "resnet.keras"
    small.save(path)
    images = np.random.default_rng(1).random((2, 8, 8, 3)).astype("float32")
    loaded = keras.models.load_model(path)
    assert type(loaded) is ResNet56
    np.testing.assert_allclose(loaded.predict(images, verbose=0), small.predict(images, verbose=0), atol=1e-6)


def test_its_configuration_keeps_the_dtype_policy():
    model = ResNet56(blocks=1, dtype="mixed_float16")
    copy = ResNet56.from_config(model.get_config())
    assert copy.dtype_policy.name == "mixed_float16"
    model.compile("adam", "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`blocks` must be positive\. Received: 0"):
        ResNet56(blocks=0)
