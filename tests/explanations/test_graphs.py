"""Explanations of models that branch, join and have biases: complete, and equal to float64 and to gradients."""

import keras
import numpy as np
import pytest
import reference
from keras import layers, ops
from on_backend import gradients
from reference import relative_error

import keras_coda
from keras_coda import DAUConv2D, DAUDense, NotDynamicLinearError
from keras_coda.contractions import set_contraction, setting
from keras_coda.layers import InputEncoding, LogitScaling, SumPooling2D
from keras_coda.linear_maps import follows_graph

LAST = {"data_format": "channels_last"}
SHAPE = (4, 5, 3)


def dau(filters, drawn, kernel=3, **kwargs):
    initializers = {"a_initializer": drawn, "b_initializer": drawn, "bias_initializer": drawn}
    return DAUConv2D(filters, kernel, 2, padding="symmetric", **LAST, **initializers, **kwargs)


def head(x):
    return LogitScaling(3.0, 0.5)(SumPooling2D(**LAST)(x))


def residual(drawn):
    """Residual connections, in three ways to write a join."""
    inputs = keras.Input(SHAPE)
    x = dau(4, drawn)(InputEncoding(**LAST)(inputs))
    x = layers.Add()([x, dau(4, drawn)(x)])
    x = ops.concatenate([x + dau(4, drawn)(x), layers.Average()([x, 2.0 * x])], axis=-1)
    x = layers.Concatenate()([x, layers.Subtract()([x, -x / 4.0]) - 0.25])
    return keras.Model(inputs, head(dau(3, drawn, 1)(x)))


def rearranged(drawn):
    inputs = keras.Input(SHAPE)
    x = ops.flip(dau(4, drawn)(inputs), axis=1)[:, ::2]
    x = ops.transpose(ops.pad(x, [(0, 0), (1, 0), (0, 2), (0, 0)]), (0, 2, 1, 3))
    first, second = ops.split(x, 2, axis=-1)
    x = ops.concatenate([second, ops.roll(first, 1, axis=2)], axis=-1)
    x = ops.squeeze(ops.expand_dims(ops.image.resize(x, (5, 3), data_format="channels_last"), 1), 1)
    return keras.Model(inputs, layers.Dense(2)(ops.reshape(x, (-1, 60))))


def twice(drawn):
    """A layer and a nested model used twice."""
    block_input = keras.Input((4, 5, 4))
    block = keras.Model(block_input, layers.Add()([block_input, layers.Conv2D(4, 1, **LAST)(block_input)]))
    inputs, layer = keras.Input(SHAPE), dau(3, drawn)
    x = layer(layer(inputs))
    return keras.Model(inputs, head(block(block(dau(4, drawn)(x)))))


def set_weights(model, drawn):
    """Weights drawn in NumPy, biases included, and moving variances that are positive."""
    for variable in model.variables:
        if variable.path.endswith("moving_variance"):
            variable.assign(0.6 + drawn(variable.shape))
        elif "seed" not in variable.path:
            variable.assign(drawn(variable.shape))
    return model


def assert_exact(explanation, logits, tolerance=1e-5):
    """Contributions and bias sum up to the model's own logits."""
    parts = explanation.contributions if isinstance(explanation.contributions, tuple) else (explanation.contributions,)
    total = explanation.bias + sum(p.sum(tuple(range(2, p.ndim)), dtype="float64") for p in parts)
    largest = np.abs(logits).max()
    assert np.abs(total - logits).max() <= tolerance * largest
    assert np.abs(explanation.logits - logits).max() <= tolerance * largest


def daus(model):
    return [layer for layer in model.layers if hasattr(layer, "a_kernel")]


def scaled(net, x):
    """What `head` does."""
    return net.shift(x.sum((1, 2)) / 3, 0.5)


def residual_by_hand(net, model, x):
    first, second, third, last = daus(model)
    x = net.dau(x, first)
    x = x + net.dau(x, second)
    x = np.concatenate([x + net.dau(x, third), 1.5 * x], axis=3)
    x = np.concatenate([x, net.shift(1.25 * x, -0.25)], axis=3)
    return scaled(net, net.dau(x, last))


def twice_by_hand(net, model, x):
    first, second = daus(model)
    x = net.dau(net.dau(net.dau(x, first), first), second)
    for _ in range(2):
        x = x + net.convolve(x, *model.layers[-3].layers[1].get_weights())
    return scaled(net, x)


def rearranged_by_hand(net, model, x):
    """Keras' bilinear resize of 7 to 3 columns and 3 to 5 rows is by the centres of pixels, without anti-aliasing."""
    x = np.pad(net.dau(x, daus(model)[0])[:, ::-1][:, ::2], [(0, 0), (1, 0), (0, 2), (0, 0), (0, 0)])
    first, second = np.split(np.moveaxis(x, 2, 1), 2, axis=3)
    x = np.concatenate([second, np.roll(first, 1, axis=2)], axis=3)
    x = np.einsum("hi,wj,nijcd->nhwcd", resize_matrix(5, x.shape[1]), resize_matrix(3, x.shape[2]), x)
    kernel, bias = model.layers[-1].get_weights()
    return net.shift(np.einsum("nik,io->nok", x.reshape(len(x), 60, -1), kernel), bias)


def resize_matrix(size, before):
    centres = np.clip((np.arange(size) + 0.5) * before / size - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(before)))


def assert_equal_to_float64(explanation, net, want):
    """Logits, weights of all sources and bias, of all classes."""
    weights = explanation.weights if isinstance(explanation.weights, tuple) else (explanation.weights,)
    flat = np.concatenate([w.reshape(*w.shape[:2], -1) for w in weights], axis=-1)
    assert relative_error(explanation.logits, net.value(want)) < 1e-5
    assert relative_error(flat, want[..., :-1]) < 1e-5
    assert np.abs(explanation.bias - want[..., -1]).max() < 1e-5 * np.abs(explanation.logits).max()


@pytest.mark.parametrize(
    ("make", "by_hand"),
    [(residual, residual_by_hand), (rearranged, rearranged_by_hand), (twice, twice_by_hand)],
    ids=["residual", "rearranged", "twice"],
)
def test_sums_are_the_models_logits(rng, drawn, make, by_hand):
    model, images = set_weights(make(drawn), drawn), rng.random((2, *SHAPE), "float32")
    explanation = keras_coda.explain(model, images, "all")
    assert_exact(explanation, model.predict(images, verbose=0))
    assert explanation.contribution_map.shape[:4] == (2, explanation.logits.shape[1], 4, 5)
    net = reference.Affine(reference.encode(images) if make is residual else images)
    assert_equal_to_float64(explanation, net, by_hand(net, model, *net.inputs()))


def test_two_inputs(rng, drawn):
    images, other = keras.Input(SHAPE, name="images"), keras.Input((4,), name="other")
    x = SumPooling2D(**LAST)(dau(3, drawn)(InputEncoding(**LAST)(images)))
    y = DAUDense(3, 2, a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn)(other)
    model = set_weights(keras.Model([images, other], layers.Dense(2)(layers.Concatenate()([y, x]))), drawn)
    arrays = [rng.random((3, *SHAPE), "float32"), rng.standard_normal((3, 4)).astype("float32")]
    explanation = keras_coda.explain(model, arrays, "all")
    assert_exact(explanation, model.predict(arrays, verbose=0))
    net = reference.Affine(arrays[1], reference.encode(arrays[0]))
    y, x = net.inputs()
    convolution, dense = daus(model)
    joined = np.concatenate([net.dau(y, dense), net.dau(x, convolution).sum((1, 2))], axis=1)
    kernel, bias = model.layers[-1].get_weights()
    assert_equal_to_float64(explanation, net, net.shift(np.einsum("nik,io->nok", joined, kernel), bias))
    # In the order in which the tensors come: the input, then what the encoding makes.
    assert [c.shape for c in explanation.contributions] == [(3, 2, 4), (3, 2, 4, 5, 6)]
    assert [m.shape for m in explanation[:2].contribution_map] == [(2, 2, 4), (2, 2, 4, 5)]
    by_name = keras_coda.explain(model, {"images": arrays[0], "other": arrays[1]}, "all")
    np.testing.assert_array_equal(by_name.logits, explanation.logits)
    assert explanation.relative_residual.max() < 1e-4
    with pytest.raises(ValueError, match=r"takes 2 inputs. Received: 1"):
        keras_coda.explain(model, arrays[:1])
    with pytest.raises(ValueError, match=r"as many images of each input. Received: \[3, 2\] of them"):
        keras_coda.explain(model, [arrays[0], arrays[1][:2]])
    with pytest.raises(ValueError, match=r"inputs \['images', 'other'\] of model .*. Received: \['images'\]"):
        keras_coda.explain(model, {"images": arrays[0]})


@pytest.mark.one_backend
@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize("keys", ["ba", "cd"])
def test_inputs_by_keys_that_are_not_their_names(rng, keys):
    first, second = (keras.Input((3,), name=name) for name in "ab")
    outputs = layers.Dense(2)(layers.Concatenate()([DAUDense(2, 2)(first), DAUDense(2, 2)(second)]))
    model = keras.Model(dict(zip(keys, (first, second), strict=True)), outputs)
    inputs = {key: rng.random((4, 3), "float32") for key in keys}
    assert relative_error(keras_coda.explain(model, inputs, "all").logits, model.predict(inputs, verbose=0)) < 1e-6


def test_one_output_of_several(rng, drawn):
    inputs = keras.Input((4,))
    heads = [layers.Dense(2, name="first")(inputs), layers.Dense(3, name="second")(inputs)]
    model = set_weights(keras.Model(inputs, heads), drawn)
    x = rng.random((2, 4), "float32")
    explanation = keras_coda.explain(model, x, "all", layer="second")
    assert_exact(explanation, model.predict(x, verbose=0)[1])
    with pytest.raises(
        NotDynamicLinearError, match=r"2 outputs. Expected: one output. Choose .* \['first', 'second'\]"
    ):
        keras_coda.explain(model, x)


def relu_stem():
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", **LAST)(inputs)
    x = layers.ReLU(negative_slope=0.1)(layers.BatchNormalization()(x) + x)
    x = layers.MaxPooling2D(2, padding="same", name="largest", **LAST)(x)
    x = ops.relu(layers.SeparableConv2D(5, 2, **LAST)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D(**LAST)(x)))


def test_piecewise_linear_layers_on_request(rng, drawn):
    """Then contributions are input x gradient."""
    model, images = set_weights(relu_stem(), drawn), rng.standard_normal((2, *SHAPE)).astype("float32")
    with pytest.raises(NotDynamicLinearError, match=r"activation 'relu'. Expected: none. With `piecewise_linear=True`"):
        keras_coda.explain(model, images)
    explanation = keras_coda.explain(model, images, "all", piecewise_linear=True)
    assert_exact(explanation, model.predict(images, verbose=0))
    assert len(explanation.piecewise_linear) == 5
    assert "largest" in explanation.piecewise_linear
    assert explanation[:1].piecewise_linear == explanation.piecewise_linear
    _, (gradient,) = gradients(lambda x: model(x, training=False)[:, 1], [images], np.ones(2, "float32"))
    np.testing.assert_allclose(explanation.contributions[:, 1], images * gradient, atol=1e-5)

    of = {type(layer): [np.array(w, "float64") for w in layer.get_weights()] for layer in model.layers}
    net = reference.Affine(images)
    x = net.relu(net.convolve(*net.inputs(), *of[layers.Conv2D]))
    normalization = next(layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    x = net.max_pool(net.relu(net.normalize(x, normalization) + x, slope=0.1), 2)
    depthwise, pointwise, bias = of[layers.SeparableConv2D]
    x = net.relu(net.convolve(x, depthwise * pointwise, bias, padding="valid"))
    chosen = net.value(x).reshape(2, -1, 5).argmax(1)[:, None, :, None]
    x = np.take_along_axis(x.reshape(2, -1, 5, x.shape[-1]), chosen, axis=1)[:, 0]
    kernel, bias = of[layers.Dense]
    assert_equal_to_float64(explanation, net, net.shift(np.einsum("nik,io->nok", x, kernel), bias))


def test_batch_normalization_after_training_steps(rng, drawn):
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(dau(4, drawn)(inputs))
    model = keras.Model(inputs, head(dau(2, drawn)(x)))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    images = rng.random((4, *SHAPE), "float32")
    model.fit(images, rng.random((4, 2)), epochs=2, batch_size=2, verbose=0)
    explanation = keras_coda.explain(model, images, "all")
    assert_exact(explanation, model.predict(images, verbose=0))
    assert np.abs(explanation.bias - 0.5).max() > 1e-3
    first, second = daus(model)
    net = reference.Affine(images)
    x = net.normalize(net.dau(*net.inputs(), first), model.layers[2])
    assert_equal_to_float64(explanation, net, scaled(net, net.dau(x, second)))


# What an explanation must not be of: something else than the model computes.


class Standardized(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - ops.mean(kernel, axis=(0, 1, 2)))


class Preprocessing(keras.Model):
    def call(self, inputs, **kwargs):
        return super().call(2.0 * inputs, **kwargs)


class Marked(keras.Model):
    @follows_graph
    def call(self, inputs, **kwargs):
        return super().call(inputs, **kwargs)


class Wrong(layers.Layer):
    """The outputs of its linear map differ from those of its call."""

    def __init__(self, difference, **kwargs):
        super().__init__(name="wrong", **kwargs)
        self.difference = difference

    def call(self, inputs):
        return inputs

    def linear_map(self, inputs):
        return inputs + ops.cast(self.difference, inputs.dtype), keras_coda.LinearMap(lambda v: v, lambda u: u)


def patched(layer):
    call = layer.call
    layer.call = lambda inputs: 2.0 * call(inputs)
    return layer


def with_layer(layer, cls=keras.Model):
    inputs = keras.Input(SHAPE)
    return cls(inputs, SumPooling2D(**LAST)(layer(inputs)))


def quantized():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="rounded")])
    model.quantize("int8")
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: with_layer(Standardized(2, 3, **LAST)),
            r"\(Standardized\) .* its own `convolution_op`, unlike Conv2D",
        ),
        (lambda: with_layer(patched(layers.Conv2D(2, 3, **LAST))), r"\(Conv2D\) .* its own `call`, unlike Conv2D"),
        (lambda: with_layer(layers.Identity(), Preprocessing), r"\(Preprocessing\) has its own `call`"),
        (lambda: patched(with_layer(layers.Identity())), r"\(Functional\) has its own `call`"),
        (lambda: with_layer(Wrong(1.0)), "'wrong' .* something else than its `linear_map`.* difference of 1,"),
        (
            lambda: with_layer(Wrong(0.003 * np.eye(5, 3))),
            "'wrong' .* difference of 0.003, where the largest output is 1",
        ),
        (lambda: with_layer(Wrong(np.nan)), "'wrong' .* difference of nan,"),
        (lambda: with_layer(patched(dau(2, keras.initializers.Ones()))), r"\(DAUConv2D\) computes something else"),
        (quantized, r"'rounded' .* It is quantized"),
    ],
    ids=[
        "convolution_op",
        "call of one layer",
        "call",
        "call of one model",
        "linear_map",
        "linear_map in a few numbers",
        "linear_map of NaN",
        "call of a DAU layer",
        "quantized",
    ],
)
def test_what_is_not_the_models_own_is_refused(make, message):
    model = make()
    with pytest.raises(NotDynamicLinearError, match=message):
        keras_coda.explain(model, np.ones((2, *model.input_shape[1:]), "float32"))


def test_a_call_that_is_marked(rng):
    model = with_layer(layers.Identity(), Marked)
    images = rng.random((2, *SHAPE), "float32")
    np.testing.assert_allclose(keras_coda.explain(model, images, "all").logits, images.sum((1, 2)), rtol=1e-5)


class Negative(keras.Operation):
    """A user's own operation, of a name that Keras has, too."""

    def call(self, x):
        return ops.square(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: Negative()(x), r"\(Negative\) is not dynamic linear"),
        (lambda x: ops.flip(x, axis=0), "axis=0. Expected: it leaves the batch axis"),
        (lambda x: ops.expand_dims(x, -3), "axis=-3. Expected: it leaves the batch axis"),
        (lambda x: x[..., 0, :], "the index .* Expected: it leaves the batch axis"),
        (lambda x: ops.pad(x, [(0, 0), (1, 1)], constant_values=1.0), "constant_values=1.0. Expected: .* adds nothing"),
        (
            lambda x: x + ops.ones((2, 4)),
            r"layer 'add\S* .* constant that has a batch axis. .* Received: shape \(2, 4\)",
        ),
        (lambda x: ops.transpose(x, (1, 0)), r"axes=\(1, 0\). Expected: it leaves the batch axis"),
        (lambda x: ops.reshape(x, (-1, 2)), r"newshape=\(-1, 2\). Expected: it leaves the batch axis"),
        (lambda x: ops.tile(x, (1, 1, 2)), r"repeats=.* Expected: it leaves the batch axis"),
        (
            lambda x: ops.image.resize(
                ops.reshape(x, (-1, 2, 2, 1)), (4, 2), pad_to_aspect_ratio=True, fill_value=1.0, **LAST
            ),
            "fill_value=1.0. Expected: .* adds nothing",
        ),
        (lambda x: ops.concatenate([x, ops.ones((2, 4))], axis=-1), "concatenates tensors with constants"),
        (lambda x: ops.concatenate([x, x], axis=0), "layer 'concatenate.* along the batch axis"),
        (lambda x: layers.Add(name="sum")([layers.Reshape((2, 2))(x), x[:, :2]]), "The layer 'sum' joins tensors"),
    ],
    ids=[
        "own",
        "flip",
        "expand_dims",
        "index",
        "pad",
        "constant",
        "transpose",
        "reshape",
        "tile",
        "resize",
        "concatenate",
        "concatenate images",
        "axes",
    ],
)
def test_operations_that_are_no_map_of_each_image_are_refused(operation, message):
    inputs = keras.Input((4,))
    with pytest.raises(NotDynamicLinearError, match=message):
        keras_coda.explain(keras.Model(inputs, operation(inputs)), np.ones((2, 4)))


def test_a_model_within_a_model_takes_the_dtype_of_its_input(rng):
    """Integers become floats before the encoding, which therefore does not divide them."""
    inner = keras.Sequential([keras.Input((2, 2, 1)), InputEncoding(**LAST), layers.Flatten(), layers.Dense(2)])
    inputs = keras.Input((2, 2, 1), dtype="uint8")
    model, images = keras.Model(inputs, inner(inputs)), rng.integers(0, 2, (3, 2, 2, 1)).astype("uint8")
    assert_exact(keras_coda.explain(model, images, "all"), model.predict(images, verbose=0))


@pytest.mark.one_backend
def test_a_model_within_a_model_of_low_precision_is_known_to_encode_images(low_precision):
    """Its float32 images are not cast before."""
    with low_precision():
        rest = [InputEncoding(**LAST), layers.Flatten(), DAUDense(2, rank=1)]
        augmented = [keras.Sequential([layers.RandomFlip(**LAST)]), *rest]
        for inner in (augmented, [keras.Sequential(rest)]):
            model = keras.Sequential([keras.Input((2, 2, 3)), *inner])
            assert keras_coda.Explainer(model).takes_unit_range
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                keras_coda.explain(model, 2 * np.ones((1, 2, 2, 3), "float32"), 0)


def test_settings_made_later_are_explained(rng, drawn):
    """A compiled graph is of the model as it was."""
    scaling = LogitScaling(2.0, 0.0)
    dense = layers.Dense(3, use_bias=False, kernel_initializer=drawn)
    model = keras.Sequential([keras.Input((4,)), dense, scaling])
    x = rng.random((2, 4), "float32")
    before = keras_coda.explain(model, x, "all").logits
    scaling.temperature = 1.0
    np.testing.assert_allclose(keras_coda.explain(model, x, "all").logits, 2 * before, rtol=1e-6)
    dense.enable_lora(1)
    dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    explanation = keras_coda.explain(model, x, "all")
    assert_exact(explanation, ops.convert_to_numpy(model(x)))
    assert relative_error(explanation.logits, 2 * before) > 1e-2


def test_set_contraction_is_followed(rng, drawn, monkeypatch):
    made = []
    direct = setting.DirectContraction
    monkeypatch.setattr(setting, "DirectContraction", lambda *arguments: made.append(arguments) or direct(*arguments))
    dense = DAUDense(2, 2, a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn)
    model, x = keras.Sequential([keras.Input((4,)), dense]), rng.random((2, 4), "float32")
    with set_contraction("blocked"):
        blocked = keras_coda.explain(model, x, "all")
    assert not made
    with set_contraction("direct"):
        explanation = keras_coda.explain(model, x, "all")
    assert made
    np.testing.assert_allclose(explanation.contributions, blocked.contributions, atol=1e-5)


def test_nothing_of_the_layers_is_changed(rng, drawn):
    model = set_weights(residual(drawn), drawn)
    policies = [layer.dtype_policy for layer in model.layers]
    before = {id(layer): dict(vars(layer)) for layer in model.layers}
    keras_coda.explain(
        model, rng.random((1, *SHAPE)), dtype="float64" if keras.backend.backend() != "jax" else "float32"
    )
    assert all(a is b.dtype_policy for a, b in zip(policies, model.layers, strict=True))
    for layer in model.layers:
        changed = {name for name, value in vars(layer).items() if before[id(layer)].get(name) is not value}
        assert changed <= {"_called"}


def test_an_output_of_several_is_named_as_layer_takes_it(rng):
    drawn = keras.initializers.RandomUniform(-1, 1, seed=0)
    inputs = keras.Input(SHAPE)
    features = dau(4, drawn)(inputs)
    heads = []
    for name in ("first", "second"):
        inner_input = keras.Input(features.shape[1:])
        inner = keras.Model(inner_input, SumPooling2D(**LAST, name=f"sum_of_{name}")(dau(2, drawn)(inner_input)))
        heads.append(inner(features))
    model, images = keras.Model(inputs, heads), rng.random((2, *SHAPE), "float32")
    with pytest.raises(NotDynamicLinearError, match=r"one of \['sum_of_first', 'sum_of_second'\]"):
        keras_coda.explain(model, images)
    logits = keras_coda.explain(model, images, layer="sum_of_second").logits
    np.testing.assert_allclose(logits, model.predict(images, verbose=0)[1], rtol=1e-4, atol=1e-5)


def test_reshaping_to_no_axes_and_back(rng):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, layers.Dense(3)(layers.Reshape((1,))(layers.Reshape(())(inputs))))
    images = rng.random((2, 1), "float32")
    explanation = keras_coda.explain(model, images, "all")
    total = explanation.contributions.sum(-1) + explanation.bias
    np.testing.assert_allclose(total, model.predict(images, verbose=0), rtol=1e-5)


def test_a_constant_that_changes_the_shape_is_refused():
    """Its contributions would be of three inputs in place of one, and their sum wrong."""
    inputs = keras.Input((1, 1, 1))
    broadcast = ops.maximum(inputs, np.array([[[-1.0, -1.0, 5.0]]], "float32"))
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(1, 1, kernel_initializer="ones", **LAST)(broadcast)))
    message = r"broadcasts its input .* shape \((None|1), 1, 1, 1\). Received: outputs of shape \((None|1), 1, 1, 3\)"
    with pytest.raises(NotDynamicLinearError, match=message):
        keras_coda.explain(model, np.full((1, 1, 1, 1), 0.5), [0], piecewise_linear=True)


def test_a_constant_that_keeps_the_shape(rng):
    inputs = keras.Input((1, 1, 3))
    model = keras.Model(inputs, layers.Flatten()(ops.maximum(inputs, np.array([[[-1.0, -1.0, 5.0]]], "float32"))))
    images = rng.random((2, 1, 1, 3), "float32")
    explanation = keras_coda.explain(model, images, "all", piecewise_linear=True)
    np.testing.assert_allclose(explanation.weights.reshape(2, 3, 3), [np.diag([1, 1, 0])] * 2)
    np.testing.assert_allclose(explanation.bias, [[0, 0, 5]] * 2, atol=1e-6)


def test_a_cast_to_integers_is_refused(rng):
    inputs = keras.Input((2,))
    dense = layers.Dense(2, kernel_initializer="ones")
    model = keras.Model(inputs, dense(ops.cast(ops.cast(2.5 * inputs, "int32"), "float32")))
    with pytest.raises(NotDynamicLinearError, match=r"rounds float32 to int32, .* Expected: a float dtype"):
        keras_coda.explain(model, rng.random((1, 2)))


def test_integers_before_the_source(rng, drawn):
    inputs = keras.Input((4,))
    source = layers.Identity(name="source")(ops.cast(ops.cast(9 * inputs, "int32"), "float32"))
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer=drawn)(source))
    x = rng.random((3, 4), "float32")
    assert_exact(keras_coda.explain(model, x, "all", source="source"), model.predict(x, verbose=0))


def test_integers_that_are_moved_are_explained(rng):
    """The maps of operations on integer images take floats. As integers, rows of W(x) were rounded to zero."""
    inputs = [keras.Input((4, 4, 3), dtype="uint8", name=name) for name in "ab"]
    x = ops.flip(ops.transpose(layers.Concatenate()(inputs), (0, 2, 1, 3)), axis=1)[:, 1:]
    x = ops.mean(ops.cast(ops.concatenate([x, x], axis=2), "int32"), axis=2)
    x = layers.Rescaling(1 / 255)(x)
    model = keras.Model(inputs, DAUDense(2, 2)(layers.Flatten(**LAST)(x)))
    images = [rng.integers(0, 256, (2, 4, 4, 3)).astype("uint8") for _ in inputs]
    explanation = keras_coda.explain(model, images, "all")
    np.testing.assert_allclose(explanation.logits, model.predict(images, verbose=0), rtol=1e-5)
    assert np.abs(explanation.logits).max() > 1e-3
    assert explanation.relative_residual.max() < 1e-4


@pytest.mark.parametrize(
    "calculation",
    [
        lambda x: x + x,
        lambda x: 255 - x,
        lambda x: 2 * x,
        lambda x: ops.matmul(x, np.ones((3, 2), "uint8")),
        lambda x: layers.Add()([x, x]),
        lambda x: layers.Average()([x, x]),
    ],
)
def test_calculations_in_integers_are_refused(calculation):
    """They overflow: 200 + 200 is 144 in uint8."""
    inputs = keras.Input((2, 2, 3), dtype="uint8")
    model = keras.Model(inputs, head(DAUConv2D(2, 1, 1, **LAST)(layers.Rescaling(1 / 255)(calculation(inputs)))))
    with pytest.raises(NotDynamicLinearError, match=r"calculates in \w+, whose numbers overflow"):
        keras_coda.explain(model, np.full((1, 2, 2, 3), 200, "uint8"))


@pytest.mark.parametrize("functional", [True, False], ids=["functional", "sequential"])
def test_a_nested_model_of_integers_rounds(rng, drawn, functional):
    inputs = keras.Input((4,), dtype="int32")
    source = layers.Identity(name="source")(ops.cast(inputs, "float32"))
    inner = keras.Model(inputs, layers.Dense(2, kernel_initializer=drawn)(source))
    outer = keras.Input((4,))
    model = keras.Model(outer, inner(outer)) if functional else keras.Sequential([outer, inner])
    x = 9 * rng.random((3, 4), "float32")
    with pytest.raises(NotDynamicLinearError, match=r"rounds float32 to int32, .* Expected: a float dtype"):
        keras_coda.explain(model, x)
    assert_exact(keras_coda.explain(model, x, "all", source="source"), model.predict(x, verbose=0))


class Difference(keras.Model):
    """A model with its own map, which is one step of the graph."""

    def call(self, tensors, training=None, mask=None):
        return tensors[0] - 2.0 * tensors[1]

    def linear_map(self, tensors):
        return self(tensors), keras_coda.LinearMap(lambda v: v[0] - 2.0 * v[1], lambda u: [u, -2.0 * u])


@pytest.mark.one_backend
@pytest.mark.parametrize("kind", [keras.Model, Difference])
def test_a_nested_model_of_several_inputs(rng, drawn, kind):
    """Keras records a list of `None` as the masks."""
    first, second = keras.Input((4,)), keras.Input((4,))
    nested = kind([first, second], layers.Subtract()([first, 2.0 * second]))
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer=drawn)(nested(inputs)))
    explanation = keras_coda.explain(model, [rng.random((3, 4), "float32"), rng.random((3, 4), "float32")], "all")
    kernel = model.get_weights()[0].T
    for weights, factor in zip(explanation.weights, (1.0, -2.0), strict=True):
        np.testing.assert_allclose(weights, np.broadcast_to(factor * kernel, (3, 2, 4)), rtol=1e-6)


def test_a_nested_model_of_another_rank_is_refused(rng):
    """Keras adds the axis."""
    inner = keras.Sequential([keras.Input((4, 1)), layers.Flatten(), layers.Dense(2)], name="inner")
    model = keras.Sequential([keras.Input((4,)), inner])
    with pytest.raises(NotDynamicLinearError, match=r"'inner' .* Expected: as many tensors, of as many axes"):
        keras_coda.explain(model, rng.random((3, 4), "float32"))


def two_sources(drawn):
    inputs = keras.Input((4,))
    first = layers.Dense(2, kernel_initializer=drawn, name="a")(inputs)
    second = layers.Dense(3, kernel_initializer=drawn, name="b")(inputs)
    joined = layers.Concatenate()([first, layers.Dense(2, kernel_initializer=drawn, name="c")(second)])
    return keras.Model(inputs, layers.Dense(2, kernel_initializer=drawn)(joined))


def test_sources_come_in_the_order_of_the_list(rng, drawn):
    model, x = two_sources(drawn), rng.random((3, 4), "float32")
    want = keras_coda.explain(model, x, "all", source=["a", "b"])
    got = keras_coda.explain(model, x, "all", source=["b", "a"])
    assert [c.shape for c in got.contributions] == [(3, 2, 3), (3, 2, 2)]
    for field in ("weights", "contributions", "contribution_map"):
        for one, other in zip(getattr(got, field), getattr(want, field)[::-1], strict=True):
            np.testing.assert_array_equal(one, other)
    assert_exact(got, model.predict(x, verbose=0))


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["a", "b", "a"], r"list each layer once.*Received: source=\['a', 'b', 'a'\]$"),
        (["a", "b", "c"], r"source=\['a', 'b', 'c'\], of which \['b'\] do not contribute"),
    ],
)
def test_sources_of_a_list_that_do_not_contribute_are_refused(rng, drawn, source, message):
    with pytest.raises(ValueError, match=message):
        keras_coda.explain(two_sources(drawn), rng.random((1, 4), "float32"), source=source)
