"""The linear maps of Keras' own linear layers, against the layers themselves."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from matrices import assert_linear_map
from on_backend import evaluate

from keras_coda import DAUConv2D, NotDynamicLinearError
from keras_coda.layers import LogitScaling, SumPooling2D
from keras_coda.linear_maps import linear_map

IMAGE = (4, 5, 3)

# Layers on images `(4, 5, 3)`, by data format.
IMAGE_LAYERS = {
    "SumPooling2D": lambda **k: SumPooling2D(**k),
    "Flatten": lambda **k: layers.Flatten(**k),
    "ZeroPadding2D": lambda **k: layers.ZeroPadding2D(((1, 2), (0, 3)), **k),
    "Cropping2D": lambda **k: layers.Cropping2D(((1, 0), (2, 1)), **k),
    "UpSampling2D": lambda **k: layers.UpSampling2D((2, 3), **k),
    "GlobalAveragePooling2D": lambda **k: layers.GlobalAveragePooling2D(**k),
    "GlobalAveragePooling2D keepdims": lambda **k: layers.GlobalAveragePooling2D(keepdims=True, **k),
    "AveragePooling2D": lambda **k: layers.AveragePooling2D(2, **k),
    "AveragePooling2D overlapping": lambda **k: layers.AveragePooling2D((3, 2), strides=(1, 2), **k),
    "Conv2D": lambda **k: layers.Conv2D(2, 3, use_bias=False, **k),
    "Conv2D same": lambda **k: layers.Conv2D(2, (3, 2), padding="same", use_bias=False, **k),
    "Conv2D same, strides": lambda **k: layers.Conv2D(2, (2, 3), strides=(2, 3), padding="same", **k),
    "Conv2D 1 x 1, strides": lambda **k: layers.Conv2D(2, 1, strides=2, padding="same", use_bias=False, **k),
    "Conv2D dilated": lambda **k: layers.Conv2D(2, (2, 3), dilation_rate=(3, 2), padding="same", **k),
    "Conv2D dilated in columns": lambda **k: layers.Conv2D(2, (2, 3), dilation_rate=(1, 2), padding="same", **k),
    "Conv2D in groups": lambda **k: layers.Conv2D(6, 2, groups=3, padding="same", **k),
    "SeparableConv2D": lambda **k: layers.SeparableConv2D(2, (2, 3), strides=2, depth_multiplier=2, **k),
    "AveragePooling2D same": lambda **k: layers.AveragePooling2D((3, 2), padding="same", **k),
    "UpSampling2D bilinear": lambda **k: layers.UpSampling2D(2, interpolation="bilinear", **k),
    "Resizing": lambda **k: layers.Resizing(3, 7, **k),
    "DepthwiseConv2D": lambda **k: layers.DepthwiseConv2D((2, 3), strides=2, depth_multiplier=2, **k),
    "DepthwiseConv2D same": lambda **k: layers.DepthwiseConv2D(3, padding="same", use_bias=False, **k),
}
OTHER_LAYERS = {
    "AveragePooling2D of narrow images": (
        lambda: layers.AveragePooling2D((2, 3), strides=(1, 2), data_format="channels_last"),
        (4, 4, 3),
    ),
    "Identity": (lambda: layers.Identity(), IMAGE),
    "Dropout": (lambda: layers.Dropout(0.5), (7,)),
    "SpatialDropout2D": (lambda: layers.SpatialDropout2D(0.5), IMAGE),
    "GaussianDropout": (lambda: layers.GaussianDropout(0.5), (7,)),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.5), (7,)),
    "ActivityRegularization": (lambda: layers.ActivityRegularization(0.5), (7,)),
    "Activation linear": (lambda: layers.Activation("linear"), (7,)),
    "Rescaling": (lambda: layers.Rescaling(2.5), IMAGE),
    "Rescaling with offset": (lambda: layers.Rescaling(2.5, offset=-0.5), IMAGE),
    "Rescaling of each channel": (lambda: layers.Rescaling([2.0, 3.0, 4.0], offset=[0.5, 0.0, -0.5]), IMAGE),
    "Rescaling by arrays": (lambda: layers.Rescaling(np.array([2.0, 3.0, 4.0]), np.array([0.5, 0, -0.5])), IMAGE),
    "LogitScaling": (lambda: LogitScaling(10.0, bias=-2.0), (7,)),
    "Flatten of vectors": (lambda: layers.Flatten(), (7,)),
    "Reshape": (lambda: layers.Reshape((3, -1)), (4, 6)),
    "Permute": (lambda: layers.Permute((3, 1, 2)), IMAGE),
    "BatchNormalization": (lambda: layers.BatchNormalization(), IMAGE),
    "BatchNormalization of rows": (lambda: layers.BatchNormalization(axis=1, scale=False), IMAGE),
    "Dense": (lambda: layers.Dense(4), (7,)),
    "Dense without bias": (lambda: layers.Dense(4, use_bias=False, activation="linear"), (7,)),
    "Dense on images": (lambda: layers.Dense(2), IMAGE),
}
FORMATS = [(name, data_format) for name in IMAGE_LAYERS for data_format in ("channels_last", "channels_first")]


def assert_map_of(layer, x, other, want):
    """That the map made at `x` is that of a layer whose outputs are `want` for `other`, zeros behind it included."""
    matrix, _, offset = assert_linear_map(lambda x: linear_map(layer, x), x, want.shape[1:])
    # A fixed layer's matrix is the same for all inputs.
    got = (matrix[0] @ other.reshape(len(other), -1).T).T.reshape(want.shape) + offset[:1]
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def set_weights(layer, drawn):
    for variable in layer.trainable_variables:
        variable.assign(drawn(variable.shape))
    if hasattr(layer, "moving_variance"):
        layer.moving_mean.assign(drawn(layer.moving_mean.shape))
        layer.moving_variance.assign(0.6 + drawn(layer.moving_variance.shape))


def inputs(rng, shape):
    """Two inputs, and two others, the second of which is zeros."""
    x = rng.standard_normal((2, *shape)).astype("float32")
    other = rng.standard_normal((2, *shape)).astype("float32")
    other[1] = 0
    return x, other


@pytest.mark.parametrize(("name", "data_format"), FORMATS)
def test_map_of_an_image_layer(rng, drawn, name, data_format):
    """Compared with the channels-last layer, as TensorFlow has no channels-first convolution on CPUs."""
    x, other = inputs(rng, IMAGE)
    last = IMAGE_LAYERS[name](data_format="channels_last")
    last.build((None, *IMAGE))
    set_weights(last, drawn)
    want = evaluate(last, other)
    if data_format == "channels_last":
        assert_map_of(last, x, other, want)
        return
    first = IMAGE_LAYERS[name](data_format="channels_first")
    x, other = (np.moveaxis(v, -1, 1) for v in (x, other))
    first.build((None, *other.shape[1:]))
    first.set_weights(last.get_weights())
    assert_map_of(first, x, other, np.moveaxis(want, -1, 1) if want.ndim == 4 else want)


@pytest.mark.parametrize("name", OTHER_LAYERS)
def test_map_of_a_layer(rng, drawn, name):
    make, shape = OTHER_LAYERS[name]
    layer = make()
    layer.build((None, *shape))
    set_weights(layer, drawn)
    x, other = inputs(rng, shape)
    assert_map_of(layer, x, other, evaluate(layer, other))


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip(),
        layers.RandomTranslation(0.5, 0.5),
        layers.RandomRotation(0.5),
        layers.RandomZoom(0.5),
        layers.RandomContrast(0.5),
        layers.RandomBrightness(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_of_augmentation_do_nothing(rng, layer):
    x, _ = inputs(rng, IMAGE)
    outputs, W = linear_map(layer, x)
    assert outputs is x
    assert W @ x is W.T @ x is x


def test_rescaling_of_each_channel_follows_the_setting_of_keras(rng):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        x, other = inputs(rng, (3, 4, 5))
        layer = layers.Rescaling([2.0, 3.0, 4.0])
        assert_map_of(layer, x, other, evaluate(layer, other))
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_max_pooling(rng, keepdims):
    layer = layers.GlobalMaxPooling2D(keepdims=keepdims, data_format="channels_last")
    x, _ = inputs(rng, IMAGE)
    want = x.max((1, 2), keepdims=keepdims)
    _, outputs, _ = assert_linear_map(lambda x: linear_map(layer, x, piecewise_linear=True), x, want.shape[1:])
    np.testing.assert_allclose(outputs, want)


def linear(x):
    """A user's own function, of a name that Keras has, too."""
    return ops.tanh(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Dense(3, linear, name="bent"), r"layer 'bent' \(Dense\) is not dynamic linear"),
        (layers.ReLU(name="bent"), r"layer 'bent' \(ReLU\) is not dynamic linear"),
        (layers.LayerNormalization(name="normed"), r"layer 'normed' \(LayerNormalization\) is not dynamic linear"),
        (layers.MaxPooling2D(name="largest"), r"layer 'largest' \(MaxPooling2D\) is not dynamic linear"),
        (layers.Activation("tanh", name="bent"), r"layer 'bent' \(Activation\) .* activation 'tanh'. Expected: none"),
        (layers.Dense(3, "relu", name="bent"), r"layer 'bent' \(Dense\) .* activation 'relu'. Expected: none"),
        (layers.Conv2D(3, 1, activation="gelu", name="bent"), r"layer 'bent' \(Conv2D\) .* activation 'gelu'."),
        (layers.Dense(3, lambda x: x**2, name="bent"), r"layer 'bent' \(Dense\) .* activation .* Expected: none"),
        (layers.Dense(3, layers.ReLU(), name="bent"), r"layer 'bent' \(Dense\) .* activation .* Expected: none"),
        (layers.DepthwiseConv2D(1, activation="relu", name="bent"), r"layer 'bent' \(DepthwiseConv2D\) .* 'relu'"),
    ],
)
def test_layers_that_have_no_map_are_named(layer, message):
    layer.build((None, 4, 4, 2))
    with pytest.raises(NotDynamicLinearError, match=message):
        linear_map(layer, ops.zeros((1, 4, 4, 2)))


def test_a_subclass_with_a_call_of_its_own_is_not_taken_for_its_parent():
    class Bent(layers.Dense):
        def call(self, inputs):
            return ops.relu(super().call(inputs))

    layer = Bent(3, name="bent")
    layer.build((None, 2))
    with pytest.raises(NotDynamicLinearError, match="'bent'"):
        linear_map(layer, ops.zeros((1, 2)))


def test_large_images_in_half_precision():
    """A mean over more positions than the largest float16."""
    layer = layers.GlobalAveragePooling2D(dtype="float16", data_format="channels_last")
    x = np.ones((1, 300, 300, 1), "float16")
    outputs, WTu = evaluate(
        lambda x, u: (lambda y, W: (y, W.T @ u))(*linear_map(layer, x)), x, np.ones((1, 1), "float16")
    )
    np.testing.assert_allclose(outputs, [[1]])
    np.testing.assert_allclose(WTu.astype("float64") * 300**2, x, rtol=0.1)


@pytest.mark.parametrize(
    ("layer", "want"), [(SumPooling2D("channels_last"), 90000), (LogitScaling(1.0, bias=1e5), 100001)]
)
def test_outputs_in_float32_of_inputs_in_float16(layer, want):
    """Larger than the largest float16."""
    outputs = evaluate(lambda x: linear_map(layer, x)[0], np.ones((1, 300, 300, 1), "float16"))
    np.testing.assert_allclose(outputs, want)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, 3, use_bias=False, dtype="mixed_bfloat16"),
        layers.DepthwiseConv2D(3, use_bias=False, dtype="mixed_bfloat16"),
        DAUConv2D(2, 3, 2, dtype="mixed_bfloat16"),
        layers.AveragePooling2D(2, dtype="mixed_bfloat16"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_map_takes_vectors_of_more_precision_than_its_layer(rng, layer):
    layer.build((None, 4, 4, 2))
    v, u = rng.standard_normal((1, 4, 4, 2)).astype("float32"), rng.standard_normal((1, 2, 2, 2)).astype("float32")

    def function(x, v, u):
        outputs, W = linear_map(layer, x)
        return outputs, W @ v, W.T @ u

    outputs, Wv, WTu = evaluate(function, v, v, u)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    np.testing.assert_allclose(np.sum(u * Wv.astype("float32")), np.sum(WTu.astype("float32") * v), atol=0.05)


def test_normalization_in_half_precision_is_that_of_keras(rng, drawn):
    """Keras computes it in float32: a variance above the largest float16, and a mean that float16 rounds."""
    layer = layers.BatchNormalization(dtype="mixed_float16")
    layer.build((None, 3))
    layer.set_weights([np.array(w, "float32") for w in ([1, 2, 3], [0, 1, 2], [2049, 0, 5], [1e-7, 1e6, 0.1])])
    x = np.array([[2048, 300, 5]], "float16")
    outputs = evaluate(lambda x: linear_map(layer, x)[0], x)
    np.testing.assert_allclose(outputs, evaluate(layer, x), rtol=2e-3)
