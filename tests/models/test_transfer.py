"""Other classes for a network that is there, and layers that stay as they are."""

import keras
import numpy as np
import pytest
from small_models import CLASSES, small_coda_net

import keras_coda
from keras_coda import CoDANet, OneVsRestCrossentropy, presets
from keras_coda.layers import DAUConv2D, LogitScaling, SumPooling2D


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    model = small_coda_net()
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    model.save_to_preset(folder, classes=["a", "b", "c", "d"], dataset="noise")
    return folder, model


@pytest.fixture
def images(rng):
    return rng.uniform(0, 1, (6, 5, 6, 3)).astype("float32")


def test_all_layers_but_the_last_are_kept(preset, images):
    folder, model = preset
    other = presets.load(folder, classes=["daisy", "tulip"])
    assert other.classes == 2
    assert other.class_names == ["daisy", "tulip"]
    assert other.temperature == model.temperature
    for number in (1, 2):
        name = f"dau_{number}"
        for got, want in zip(other.get_layer(name).get_weights(), model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(got, want)
    # The same features: outputs of the layer before the last.
    features = [keras.Model(m.inputs, m.get_layer("dau_2").output).predict(images, verbose=0) for m in (model, other)]
    np.testing.assert_allclose(*features, rtol=1e-6)
    explanation = other.explain(images[:2], "all")
    assert np.abs(explanation.relative_residual).max() < 1e-5


def test_a_stem_of_linear_layers_is_kept(tmp_path, images):
    stem = keras.Sequential(
        [
            keras.Input((5, 6, 3)),
            keras.layers.Conv2D(4, 2, use_bias=False, name="stem"),
            DAUConv2D(3, 3, rank=2, padding="symmetric", name="head"),
            SumPooling2D(),
            LogitScaling(10.0),
        ]
    )
    presets.save(stem, tmp_path / "stem", dataset="noise", classes=["a", "b", "c"])
    other = presets.load(tmp_path / "stem", classes=5, freeze=["st*"])
    assert other.predict(images, verbose=0).shape == (6, 5)
    np.testing.assert_array_equal(other.get_layer("stem").get_weights()[0], stem.get_layer("stem").get_weights()[0])
    assert not other.get_layer("stem").trainable
    with pytest.raises(presets.PresetError, match=r"is a Sequential\. Expected: a CoDANet"):
        CoDANet.from_preset(tmp_path / "stem")


def test_frozen_layers_stay_and_others_learn(preset, images):
    model = presets.load(preset[0], classes=2, freeze=["dau_1"])
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(keras_coda.optimizers.Muon(0.1), OneVsRestCrossentropy())
    model.fit(images, np.arange(6) % 2, epochs=1, verbose=0)
    for name, stays in (("dau_1", True), ("dau_2", False), ("dau_3", False)):
        same = [np.array_equal(a, b) for a, b in zip(model.get_layer(name).get_weights(), before[name], strict=True)]
        assert all(same) if stays else not all(same)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a"]}, "must be two at least"),
        ({"classes": ["a", "a"]}, "names that differ"),
        ({"classes": "ab"}, "names that differ"),
        ({"freeze": ["dau_7"]}, r"Expected names of layers.*Received: \['dau_7'\]"),
        ({"freeze": ["*"]}, "At least one layer must stay trainable"),
        ({"freeze": "dau_1"}, "Expected a list"),
    ],
)
def test_wrong_arguments_are_refused(preset, arguments, message):
    with pytest.raises(ValueError, match=message):
        presets.load(preset[0], load_weights=False, **arguments)


def test_keras_conventions(preset, images, tmp_path):
    folder, model = preset
    loaded = CoDANet.from_preset(folder)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert not np.array_equal(CoDANet.from_preset(folder, load_weights=False).get_weights()[0], model.get_weights()[0])
    other = CoDANet.from_preset(folder, classes=["daisy", "tulip"])
    assert other.class_names == ["daisy", "tulip"]
    np.testing.assert_array_equal(other.get_layer("dau_1").get_weights()[0], model.get_layer("dau_1").get_weights()[0])
    # Keras' own function takes the folder, once keras_coda is imported.
    own = keras.saving.load_model(folder)
    np.testing.assert_array_equal(own.predict(images, verbose=0), model.predict(images, verbose=0))
    assert CoDANet.presets["xs_coda_digits"].released
    assert {*CoDANet.presets} == {info.name for info in presets.list_presets()}
    assert presets.metadata(model.save_to_preset(tmp_path / "plain"))["classes"] == [str(i) for i in range(CLASSES)]


def test_models_with_operations_of_keras_ops_get_other_classes(rng):
    inputs = keras.Input((5, 6, 3))
    x = keras.layers.Dense(4)(keras.ops.flip(inputs, axis=1)[:, ::2])
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.ops.mean(x, axis=(1, 2))))
    other = keras_coda.models.transfer.with_classes(model, 5)
    assert other.output_shape == (None, 5)
    for got, want in zip(other.get_weights()[:2], model.get_weights()[:2], strict=True):
        np.testing.assert_array_equal(got, want)


def trainable(model):
    return [variable.path for variable in model.trainable_variables]


def test_frozen_layers_stay_frozen_in_files_and_copies(preset, images, tmp_path):
    model = presets.load(preset[0], freeze=["dau_1"])
    want = trainable(model)
    assert len(want) == 6
    model.compile(keras.optimizers.Adam(0.01), OneVsRestCrossentropy())
    model.fit(images, np.arange(6) % 4, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trainable(loaded) == want
    state = [[np.array(variable) for variable in m.optimizer.variables] for m in (loaded, model)]
    for one, other in zip(*state, strict=True):
        np.testing.assert_array_equal(one, other)
    assert trainable(presets.load(model.save_to_preset(tmp_path / "preset"))) == want
    assert trainable(keras.models.clone_model(model)) == want
    assert trainable(keras_coda.models.transfer.with_classes(model, 2)) == want
    model.get_layer("dau_1").trainable = True
    assert "frozen" not in model.get_config()  # which older versions of the package can read


def test_a_new_last_layer_is_trained(preset):
    model = presets.load(preset[0], freeze=["dau_1", "dau_3"])
    other = keras_coda.models.transfer.with_classes(model, 2)
    assert {path.split("/")[0] for path in trainable(other)} == {"dau_2", "dau_3"}
    for kept in ("dau_1", "dau_2"):
        for got, want in zip(other.get_layer(kept).get_weights(), model.get_layer(kept).get_weights(), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.one_backend
def test_a_new_last_layer_of_a_frozen_model_is_trained(images):
    model = small_coda_net()
    dense = keras.Sequential([keras.Input((5, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(4, name="a")])
    dense.add(keras.layers.Dense(3, name="b"))
    for frozen, last in ((model, "dau_3"), (dense, "b")):
        frozen.trainable = False
        other = keras_coda.models.transfer.with_classes(frozen, 2)
        assert {path.split("/")[-2] for path in trainable(other)} == {last}
        before = other.get_layer(last).get_weights()
        other.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy())
        other.fit(images, np.arange(6) % 2, epochs=1, verbose=0)
        assert not np.array_equal(before[0], other.get_layer(last).get_weights()[0])
    copy = CoDANet.from_config(model.get_config())
    assert not copy.trainable
    assert not copy.get_layer("dau_1").trainable
