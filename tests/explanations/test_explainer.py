"""Explanations: complete, equal to the product of the layers' matrices, and of the model as it is."""

import keras
import numpy as np
import pytest
import reference
from keras import layers, ops
from reference import relative_error
from small_models import CLASSES, IMAGE_SHAPE, LOGIT_BIAS, TEMPERATURE, copy, small_coda_net

import keras_coda
from keras_coda import DAUConv2D, DAUDense, NotDynamicLinearError
from keras_coda.layers import InputEncoding, LogitScaling, SumPooling2D

COMPLETE = 1e-4


def assert_complete(explanation, values):
    """The contributions and the bias sum up to the explained outputs, and the residual says so."""
    contributions, leading = explanation.contributions.astype("float64"), explanation.bias.ndim
    axes = tuple(range(leading, contributions.ndim))  # all but images and, where there is one, targets
    rest = values - explanation.bias - contributions.sum(axes)
    assert np.abs(rest).max() < COMPLETE * np.abs(values).max()
    np.testing.assert_allclose(explanation.residual, rest, atol=1e-6 * np.abs(contributions).sum(axes).max())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).random((3, *IMAGE_SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def model():
    return small_coda_net()


@pytest.fixture(scope="module")
def wanted(model, images):
    """Logits, and the matrices `(N, classes, H, W, 2C)` of eq. (7) with T, in float64 from matrices multiplied."""
    outputs, matrix = reference.coda_net(images, reference.layers_of(model))
    return outputs / TEMPERATURE + LOGIT_BIAS, matrix.reshape(3, CLASSES, 5, 6, 6) / TEMPERATURE


@pytest.mark.parametrize(
    "target", [None, 2, [3, 0, 1], [[3, 0], [1, 2], [2, 2]], "all"], ids=["None", "int", "N", "N x K", "all"]
)
def test_contributions_are_those_of_the_layers_matrices(model, images, wanted, target):
    logits, matrix = wanted
    explanation = model.explain(images, target)
    assert relative_error(explanation.logits, logits) < 1e-5
    assert relative_error(explanation.logits, model.predict(images, verbose=0)) < 1e-6

    chosen = logits.argmax(-1) if target is None else np.arange(CLASSES) if target == "all" else np.array(target)
    chosen = np.broadcast_to(chosen, (3, CLASSES) if target == "all" else (3, *chosen.shape[1:]))
    np.testing.assert_array_equal(explanation.targets, chosen)
    weights = np.stack([rows[classes] for rows, classes in zip(matrix, chosen, strict=True)])
    encoded = reference.encode(images)
    contributions = weights * (encoded if chosen.ndim == 1 else encoded[:, np.newaxis])
    assert relative_error(explanation.weights, weights) < 1e-5
    assert relative_error(explanation.contributions, contributions) < 1e-5
    assert relative_error(explanation.contribution_map, contributions.sum(-1)) < 1e-5
    np.testing.assert_allclose(explanation.bias, LOGIT_BIAS, rtol=1e-6)
    assert explanation.bias.shape == chosen.shape
    assert_complete(explanation, np.take_along_axis(logits, chosen.reshape(3, -1), 1).reshape(chosen.shape))
    assert all(np.asarray(value).dtype in ("float32", "int32", "int64") for value in arrays(explanation).values())


def arrays(explanation):
    return {name: value for name, value in vars(explanation).items() if isinstance(value, np.ndarray)}


def test_any_unit_from_any_layer(model, images):
    activations = [reference.encode(images.astype("float64"))]
    matrices = []
    for layer in reference.layers_of(model):
        outputs, matrix = layer(activations[-1])
        activations.append(outputs)
        matrices.append(matrix)

    # A unit of each image: row, column, filter of an inner layer.
    units = np.array([(0, 1, 2), (2, 2, 4), (1, 0, 0)])
    explanation = model.explain(images, units, layer="dau_2")
    rows = (matrices[1] @ matrices[0]).reshape(3, 3, 3, 5, 5, 6, 6)[(np.arange(3), *units.T)]
    values = activations[2][(np.arange(3), *units.T)]
    assert relative_error(explanation.weights, rows) < 1e-5
    assert explanation.contribution_map.shape == (3, 5, 6)
    np.testing.assert_array_equal(explanation.targets, units)
    np.testing.assert_array_equal(explanation.bias, 0)
    assert_complete(explanation, values)

    # From an inner layer to one further on, all units, by layer rather than by name.
    explanation = model.explain(images, "all", layer=model.get_layer("dau_3"), source=model.get_layer("dau_1"))
    product = matrices[2] @ matrices[1]
    assert relative_error(explanation.weights.reshape(product.shape), product) < 1e-5
    assert relative_error(explanation.logits, activations[3]) < 1e-5
    assert_complete(explanation, activations[3].reshape(3, -1))
    assert explanation.targets.shape == (3, 36, 3)
    np.testing.assert_array_equal(explanation.targets[0, -1], (2, 2, 3))

    # From an inner layer to the logits, two units an image.
    explanation = model.explain(images, [[0, 3]] * 3, source="dau_2")
    assert explanation.contributions.shape == (3, 2, 3, 3, 5)
    assert explanation.contribution_map.shape == (3, 2, 3, 3)
    assert_complete(explanation, explanation.logits[:, [0, 3]])

    # The largest unit, and one unit for all images.
    explanation = model.explain(images, layer="dau_2")
    flat = activations[2].reshape(3, -1)
    np.testing.assert_array_equal(explanation.targets, np.stack(np.unravel_index(flat.argmax(-1), (3, 3, 5)), -1))
    assert_complete(explanation, flat.max(-1))
    explanation = keras_coda.Explainer(model, layer="dau_2").explain(images, (2, 2, 4))
    np.testing.assert_array_equal(explanation.targets, [(2, 2, 4)] * 3)
    assert_complete(explanation, activations[2][:, 2, 2, 4])


def test_batch_size_and_slices(model, images):
    whole = model.explain(images, "all")
    in_parts = model.explain(images, "all", batch_size=2)
    for name, value in arrays(whole).items():
        np.testing.assert_allclose(getattr(in_parts, name), value, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(getattr(whole[1:], name), value[1:])
        np.testing.assert_array_equal(getattr(whole[2], name), value[2:])
        np.testing.assert_array_equal(getattr(whole[-1], name), value[2:])
        np.testing.assert_array_equal(getattr(whole[np.array([2, 0])], name), value[[2, 0]])
    assert len(whole) == 3
    assert "contribution_map: (3, 4, 5, 6)" in repr(whole)


def test_an_explanation_ends(model, images):
    explanation = model.explain(images, "all")
    with pytest.raises(IndexError, match="3"):
        explanation[3]
    with pytest.raises(IndexError, match="-4"):
        explanation[-4]


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integer_images(model, images, dtype):
    integers = np.round(255 * images).astype(dtype)
    got, want = model.explain(integers, "all"), model.explain(integers.astype("float32") / 255, "all")
    for name, value in arrays(want).items():
        np.testing.assert_allclose(getattr(got, name), value, atol=1e-6, err_msg=name)


def test_images_as_tensors_and_lists(model, images):
    want = model.explain(images, "all").contributions
    np.testing.assert_allclose(model.explain(ops.convert_to_tensor(images), "all").contributions, want, atol=1e-6)
    np.testing.assert_allclose(model.explain(images.tolist(), "all").contributions, want, atol=1e-6)


def test_an_explainer_is_compiled_once(model, images):
    model.explain(images, "all")
    explainers = dict(model._explainers.by_arguments)
    compiled = {ends: explainer.predict_function for ends, explainer in explainers.items()}
    model.explain(images[:2], 1)
    model.explain(images, "all")
    assert model._explainers.by_arguments == explainers
    assert {ends: explainer.predict_function for ends, explainer in explainers.items()} == compiled


def test_layers_are_told_apart_by_more_than_their_names(images, drawn):
    def part():
        layer = layers.Dense(6, use_bias=False, kernel_initializer=drawn, name="same")
        return keras.Sequential([keras.Input((6,)), layer])

    first, second = part(), part()
    model = keras.Sequential([keras.Input((6,)), first, second])
    x = images.reshape(-1, 6)
    for layer, want in ((first.layers[0], first(x)), (second.layers[0], model(x))):
        explanation = keras_coda.explain(model, x, "all", layer=layer)
        np.testing.assert_allclose(explanation.logits, ops.convert_to_numpy(want), atol=1e-6)
    with pytest.raises(
        ValueError, match=r"`layer` must be the layer itself where .* Received: 'same', the name of 2 layers"
    ):
        keras_coda.explain(model, x, layer="same")


def dau(drawn):
    return {"a_initializer": drawn, "b_initializer": drawn, "bias_initializer": drawn}


def image_layers(drawn):
    """Layers on images of any size, a class each."""
    last = {"data_format": "channels_last"}
    return [
        InputEncoding(**last),
        layers.ZeroPadding2D(((0, 1), (1, 0)), **last),
        DAUConv2D(4, 3, 2, strides=2, padding="symmetric", **last, **dau(drawn)),
        layers.Conv2D(3, 2, strides=2, padding="same", use_bias=False, kernel_initializer=drawn, **last),
        layers.UpSampling2D(2, **last),
        layers.DepthwiseConv2D(2, use_bias=False, depthwise_initializer=drawn, **last),
        layers.Dropout(0.5),
        layers.AveragePooling2D(2, strides=1, **last),
        layers.Cropping2D(((0, 0), (1, 0)), **last),
    ]


def sequential(drawn):
    return keras.Sequential(
        [
            keras.Input((9, 11, 3)),
            *image_layers(drawn),
            layers.Permute((2, 1, 3)),
            layers.Flatten(),
            DAUDense(6, 2, **dau(drawn)),
            layers.Reshape((2, 3)),
            layers.Flatten(),
            layers.Dense(CLASSES, kernel_initializer=drawn, bias_initializer=drawn),
        ]
    )


def functional(drawn):
    """Models in models, for images of any size."""
    middle = keras.Input((None, None, 4))
    pooled = layers.GlobalAveragePooling2D(data_format="channels_last")
    inner = keras.Model(middle, pooled(DAUConv2D(5, 1, 2, data_format="channels_last", **dau(drawn))(middle)))
    same = DAUConv2D(4, 2, 2, padding="same", strides=2, data_format="channels_last", **dau(drawn))
    outer = keras.Sequential([keras.Input((None, None, 3)), *image_layers(drawn), same, inner])
    images = keras.Input((None, None, 3))
    dense = layers.Dense(CLASSES, use_bias=False, kernel_initializer=drawn)
    return keras.Model(images, LogitScaling(3.0, bias=0.25)(dense(outer(images))))


@pytest.mark.parametrize(
    ("make", "sizes"), [(sequential, [(9, 11)]), (functional, [(9, 11), (12, 9)])], ids=["Sequential", "Functional"]
)
def test_chains_of_ones_own(rng, drawn, make, sizes):
    model = make(drawn)
    for size in sizes:
        images = rng.random((2, *size, 3)).astype("float32")
        explanation = keras_coda.explain(model, images, "all")
        assert explanation.contributions.shape == (2, CLASSES, *size, 6)
        assert relative_error(explanation.logits, model.predict(images, verbose=0)) < 1e-5
        assert_complete(explanation, explanation.logits)


def test_without_encoding_the_input_contributes(rng, drawn):
    model = keras.Sequential([keras.Input((7,)), DAUDense(5, 2, **dau(drawn)), DAUDense(3, 2, **dau(drawn))])
    x = 10 * rng.standard_normal((4, 7)).astype("float32")
    explanation = keras_coda.explain(model, x, "all")
    assert explanation.contributions.shape == explanation.contribution_map.shape == (4, 3, 7)
    assert_complete(explanation, explanation.logits)
    assert relative_error(explanation.weights * x[:, None], explanation.contributions) < 1e-6


def test_units_of_vectors_over_time(rng, drawn):
    model = keras.Sequential([keras.Input((4, 5)), DAUDense(3, 2, **dau(drawn))])
    x = rng.standard_normal((2, 4, 5)).astype("float32")
    explanation = keras_coda.explain(model, x, [(0, 1), (3, 2)])
    np.testing.assert_array_equal(explanation.targets, [(0, 1), (3, 2)])
    assert_complete(explanation, explanation.logits[[0, 1], [0, 3], [1, 2]])


def test_a_rescaling_before_the_encoding(rng):
    """Its images are those that the model takes, in 0..255, whichever dtype they are of."""
    steps = [layers.Rescaling(1 / 255), InputEncoding("channels_last"), layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((2, 2, 1)), *steps])
    images = rng.integers(0, 256, (3, 2, 2, 1))
    for dtype in ("float32", "uint8"):
        explanation = keras_coda.explain(model, images.astype(dtype), "all")
        assert relative_error(explanation.logits, model.predict(images.astype("float32"), verbose=0)) < 1e-5
        assert_complete(explanation, explanation.logits)


def test_a_rescaling_with_an_offset_at_the_end(rng):
    model = keras.Sequential([keras.Input((3,)), layers.Rescaling([1.0, 2.0, 3.0], offset=[0.5, 0.0, -0.5])])
    explanation = keras_coda.explain(model, rng.random((2, 3)), "all")
    np.testing.assert_allclose(explanation.bias, [[0.5, 0.0, -0.5]] * 2)
    assert_complete(explanation, explanation.logits)


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_integer_images_of_a_chain_of_ones_own(rng, drawn, input_dtype):
    """What is explained is what the model computes, or it is refused: Keras casts to the `Input`'s dtype."""
    steps = [InputEncoding("channels_last"), layers.Flatten(), DAUDense(2, 2, **dau(drawn))]
    model = keras.Sequential([keras.Input((2, 2, 1), dtype=input_dtype), *steps])
    images = rng.integers(0, 256, (3, 2, 2, 1)).astype("uint8")
    try:
        explanation = keras_coda.explain(model, images, "all")
    except ValueError:
        if input_dtype == "uint8":
            raise
        return
    assert relative_error(explanation.logits, model.predict(images, verbose=0)) < 1e-5


@pytest.mark.parametrize("source", ["first", "dau"])
def test_channels_first_maps_are_summed_over_channels(rng, drawn, source):
    """Also where a layer further on, `Flatten` here, has another data format, as by default."""
    model = keras.Sequential(
        [
            keras.Input((2, 4, 5)),
            layers.ZeroPadding2D(1, data_format="channels_first", name="first"),
            DAUConv2D(3, 3, 2, data_format="channels_first", name="dau", **dau(drawn)),
            layers.Flatten(data_format="channels_last"),
            layers.Dense(2, kernel_initializer=drawn),
        ]
    )
    explanation = keras_coda.explain(model, rng.random((2, 2, 4, 5)), source=source)
    np.testing.assert_allclose(explanation.contribution_map, explanation.contributions.sum(1), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(rng, drawn, policy):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            InputEncoding("channels_last", dtype=policy),
            DAUConv2D(4, 3, 2, data_format="channels_last", dtype=policy, **dau(drawn)),
            layers.Conv2D(3, 3, use_bias=False, kernel_initializer=drawn, data_format="channels_last", dtype=policy),
            SumPooling2D("channels_last", dtype="float32"),
        ]
    )
    explanation = keras_coda.explain(model, rng.random((2, 6, 6, 3)), "all")
    assert explanation.logits.dtype == explanation.contributions.dtype == "float32"
    total = np.abs(explanation.contributions).sum((2, 3, 4)).max()
    rest = explanation.logits - explanation.contributions.sum((2, 3, 4), dtype="float64")
    # Half precision leaves a rest that is no rounding of float32, and the residual says so.
    assert 1e-5 * total < np.abs(rest).max() < 0.05 * total
    np.testing.assert_allclose(explanation.residual, rest, atol=1e-6 * total)


def test_a_model_with_other_layers_is_another(rng, drawn):
    x = rng.standard_normal((2, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), DAUDense(4, 2, **dau(drawn)), DAUDense(2, 2, **dau(drawn))])
    keras_coda.explain(model, x)
    model.pop()
    assert keras_coda.explain(model, x, "all").logits.shape == (2, 4)
    model.add(LogitScaling(0.1))
    explanation = keras_coda.explain(model, x, "all")
    assert relative_error(explanation.logits, model.predict(x, verbose=0)) < 1e-6
    assert_complete(explanation, explanation.logits)


def test_weights_set_later_are_explained(rng, images):
    model = small_coda_net()
    before = model.explain(images, "all")
    model.set_weights([rng.uniform(-1, 1, w.shape).astype("float32") for w in model.get_weights()])
    after = model.explain(images, "all")
    assert relative_error(after.logits, before.logits) > 0.1
    outputs, _ = reference.coda_net(images, reference.layers_of(model))
    assert relative_error(after.logits, outputs / TEMPERATURE + LOGIT_BIAS) < 1e-5
    assert_complete(after, after.logits)


class ExplainsWhileTraining(keras.callbacks.Callback):
    """Compares what `explain` says in the midst of training with a forward pass at the same time."""

    def __init__(self, images):
        super().__init__()
        self.images, self.logits, self.errors = images, [], []

    def look(self):
        explanation = self.model.explain(self.images, "all")
        assert_complete(explanation, explanation.logits)
        self.logits.append(explanation.logits)
        self.errors.append(relative_error(explanation.logits, self.model.predict(self.images, verbose=0)))

    def on_train_batch_end(self, batch, logs=None):
        self.look()

    def on_epoch_end(self, epoch, logs=None):
        self.look()


def test_explaining_while_training(images):
    model = small_coda_net()
    before = model.explain(images, "all").logits
    model.compile(keras.optimizers.SGD(1.0), keras_coda.OneVsRestCrossentropy())
    callback = ExplainsWhileTraining(images)
    model.fit(images, np.array([0, 1, 2]), epochs=3, batch_size=3, verbose=0, callbacks=[callback])
    assert len(callback.errors) == 6
    assert max(callback.errors) < 1e-5
    by_epoch = [before, *callback.logits[::2]]
    for previous, after_batch, after_epoch in zip(by_epoch, callback.logits[::2], callback.logits[1::2], strict=False):
        assert relative_error(after_batch, previous) > 1e-3
        np.testing.assert_array_equal(after_epoch, after_batch)
    assert relative_error(model.explain(images, "all").logits, callback.logits[-1]) < 1e-6


def test_an_explained_model_saves_as_any_other(tmp_path, model, images):
    fresh = copy(model)
    paths = [variable.path for variable in fresh.variables]
    config = fresh.get_config()
    fresh.save(tmp_path / "before.keras")
    explanation = fresh.explain(images, "all")
    assert [variable.path for variable in fresh.variables] == paths
    assert fresh.get_config() == config
    fresh.save(tmp_path / "after.keras")
    fresh.save_weights(tmp_path / "after.weights.h5")
    sizes = [(tmp_path / name).stat().st_size for name in ("before.keras", "after.keras")]
    assert abs(sizes[0] - sizes[1]) < 100
    loaded = keras.saving.load_model(tmp_path / "after.keras")
    np.testing.assert_allclose(loaded.explain(images, "all").contributions, explanation.contributions, atol=1e-6)
    model.load_weights(tmp_path / "after.weights.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255 * x, r"floats in \[0, 1\], or integers in 0..255, .* Received: float32 images with values from"),
        (lambda x: 2 * x - 1, r"floats in \[0, 1\], .* Received: float32 images with values from -0.9"),
        (lambda x: np.where(x == x.max(), np.nan, x), "Images must be finite"),
        (lambda x: np.where(x == x.max(), np.inf, x), "Images must be finite"),
        (lambda x: x[..., :2], r"takes inputs of shape \(None, 5, 6, 3\). Received: shape \(3, 5, 6, 2\)"),
        (lambda x: x[:, :4], r"takes inputs of shape \(None, 5, 6, 3\). Received: shape \(3, 4, 6, 3\)"),
        (lambda x: x[0], r"takes inputs of shape \(None, 5, 6, 3\). Received: shape \(5, 6, 3\)"),
        (lambda x: x[:0], r"Expected a batch of images .* Received: shape \(0, 5, 6, 3\)"),
        (lambda x: x[0, 0, 0, 0], r"Expected a batch of images .* Received: shape \(\)"),
    ],
    ids=["0..255", "-1..1", "NaN", "infinite", "channels", "size", "no batch", "empty", "scalar"],
)
def test_images_that_the_model_does_not_take(model, images, change, message):
    with pytest.raises(ValueError, match=message):
        model.explain(change(images))


def test_inputs_without_an_encoding_must_be_finite():
    model = keras.Sequential([keras.Input((3,)), DAUDense(2, 2)])
    with pytest.raises(ValueError, match="NaN or infinite"):
        keras_coda.explain(model, np.array([[1.0, np.nan, 1.0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": CLASSES}, "`target` is out of range: expected indices from 0 to 3. Received: 4"),
        ({"target": [0, 1]}, r"for each of the 3 images.* Received: an array of shape \(2,\)"),
        ({"target": 1.0}, "integers. Received: an array of float"),
        ({"target": (5, 0, 0), "layer": "dau_1"}, r"from 0 to \(4, 5, 2\). Received: \(5, 0, 0\)"),
        ({"target": 3, "layer": "dau_1"}, r"3 indices for all images"),
        ({"layer": "dau_9"}, r"`layer` must be one of \['encoding', 'dau_1', .*\]. Received: 'dau_9'"),
        ({"source": "dau_9"}, r"`source` must be one of \['encoding', 'dau_1', .*\]. Received: 'dau_9'"),
        ({"source": layers.Identity(name="other")}, r"`source` must be one of \[.*\]. Received: 'other'"),
        ({"layer": "dau_1", "source": "dau_2"}, "must come before `layer`. Received: source=dau_2, layer=dau_1"),
        ({"layer": "dau_1", "source": "dau_1"}, "`source` must come before `layer`"),
        ({"layer": ["dau_1"]}, r"`layer` must be one of \['encoding', .*\]. Received: \['dau_1'\]"),
        ({"layer": {}}, r"`layer` must be one of \['encoding', .*\]. Received: {}"),
        ({"source": [["dau_1"]]}, r"`source` must be one of \['encoding', .*\]. Received: \['dau_1'\]"),
        ({"source": np.array(["dau_1", "dau_2"])}, r"`source` must be one of \['encoding', .*\]. Received: array"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: 0"),
        ({"batch_size": "8"}, "`batch_size` must be a positive integer. Received: '8'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ", ".join(f"{k}={v}" for k, v in value.items()),
)
def test_what_can_not_be_explained(model, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.explain(images, **arguments)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([layers.ReLU(name="bent")], r"layer 'bent' \(ReLU\) is not dynamic linear"),
        ([layers.Dense(3, "relu", name="bent")], r"layer 'bent' \(Dense\) .* activation 'relu'"),
        ([layers.LayerNormalization(name="normed")], r"layer 'normed' \(LayerNormalization\)"),
    ],
    ids=["ReLU", "activation", "LayerNormalization"],
)
def test_models_that_are_not_dynamic_linear(steps, message):
    model = keras.Sequential([keras.Input((3,)), *steps])
    with pytest.raises(NotDynamicLinearError, match=message):
        keras_coda.explain(model, np.ones((2, 3)))


def test_an_operation_before_the_source(rng):
    """A model may compute anything before the layer whose outputs contribute."""
    inputs = keras.Input((2, 2, 1))
    encoded = InputEncoding("channels_last")(ops.relu(inputs) / 2.0)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(encoded)))
    explanation = keras_coda.explain(model, rng.random((3, 2, 2, 1)), "all")
    assert_complete(explanation, explanation.logits)


def test_a_batch_size_may_be_an_integer_of_numpy(model, images):
    found = model.explain(images, batch_size=np.int64(2)).contribution_map
    np.testing.assert_allclose(found, model.explain(images).contribution_map, rtol=1e-4, atol=1e-6)


@pytest.mark.one_backend
@pytest.mark.parametrize("model", ["xs_coda_digits", None])
def test_the_name_of_a_preset_is_no_model(model, images):
    message = rf"Model {model!r} .* does not show its layers. Expected: a Sequential or Functional model"
    with pytest.raises(NotDynamicLinearError, match=message):
        keras_coda.explain(model, images)


def test_an_unbuilt_model_is_an_error():
    with pytest.raises(NotDynamicLinearError, match=r"[Bb]uilt"):
        keras_coda.explain(keras.Sequential([DAUDense(2, 2)]), np.ones((2, 3)))


@pytest.mark.one_backend
def test_a_called_sequential_without_a_graph_is_not_told_to_be_called():
    model = keras.Sequential([layers.Concatenate(), layers.Dense(2)])
    model([np.ones((2, 3)), np.ones((2, 3))])
    with pytest.raises(NotDynamicLinearError, match=r"no graph of model .* Expected: .* a Functional model"):
        keras_coda.explain(model, np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_a_dtype_without_fractions_is_refused(dtype):
    with pytest.raises(ValueError, match=f"`dtype` must be a floating-point dtype or policy. Received: '{dtype}'"):
        small_coda_net().explain(np.zeros((1, *IMAGE_SHAPE)), dtype=dtype)


def test_a_black_image_has_no_residual():
    """Its logit is 0, and there is no bias to compare with."""
    model = keras.Sequential([keras.Input((3, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False)])
    np.testing.assert_array_equal(keras_coda.explain(model, np.zeros((1, 3, 3, 1))).relative_residual, 0)


def test_integer_images_in_another_precision():
    """Images of 0 and 1 alone, which as floats would be of the unit range."""
    steps = [InputEncoding("channels_last"), layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((2, 2, 1), dtype="uint8"), *steps])
    images = np.array([0, 1, 1, 0], "uint8").reshape(1, 2, 2, 1)
    explanation = keras_coda.explain(model, images, "all", dtype="float32")
    assert relative_error(explanation.logits, model.predict(images, verbose=0)) < 1e-5
    assert_complete(explanation, explanation.logits)


def test_images_of_booleans(rng):
    model, images = small_coda_net(), rng.random((2, *IMAGE_SHAPE)) > 0.5
    want = model.explain(images.astype("float32"), "all")
    np.testing.assert_allclose(model.explain(images, "all").contributions, want.contributions, atol=1e-6)


@pytest.mark.parametrize("of_input", [True, False])
def test_any_number_of_images_of_a_model_with_a_fixed_one(rng, of_input):
    steps = [layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input(batch_shape=(4, 2, 2, 1)), *steps] if of_input else steps)
    model(rng.random((4, 2, 2, 1), "float32"))
    images = rng.random((3, 2, 2, 1), "float32")
    explanation = keras_coda.explain(model, images, "all")
    assert relative_error(explanation.logits, images.reshape(3, 4) @ np.array(model.layers[-1].kernel)) < 1e-5


def test_a_setting_that_is_an_array_does_not_compile_again(rng):
    model = keras.Sequential([keras.Input((3,)), layers.Rescaling(np.array([1.0, 2.0, 3.0])), layers.Dense(2)])
    explainer = keras_coda.Explainer(model)
    x = rng.random((2, 3), "float32")
    explainer.explain(x)
    compiled = explainer.predict_function
    explainer.explain(x)
    assert explainer.predict_function is compiled
    model.layers[0].scale = np.array([1.0, 2.0, 4.0])
    explanation = explainer.explain(x, "all")
    want = (x * [1, 2, 4]) @ np.array(model.layers[-1].kernel)
    assert relative_error(explanation.logits, want) < 1e-5
