"""Hybrids: a stem of any kind with a CoDA head, explained from the cut on."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from on_backend import gradients

import keras_coda
from keras_coda.contractions import using
from keras_coda.models import hybrid

LAST = {"data_format": "channels_last"}


def stem():
    """Convolution, normalisation and a residual ReLU, and what is cut away."""
    images = keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", **LAST)(layers.Rescaling(2.0)(images))
    x = layers.ReLU(name="cut")(layers.Add()([x, layers.BatchNormalization()(x)]))
    return keras.Model(images, layers.Dense(7)(layers.Flatten()(x)))


@pytest.mark.parametrize("train_stem", [False, True])
def test_hybrid(rng, tmp_path, train_stem):
    original = stem()
    before = original.get_weights()
    model = hybrid(original, "cut", [5, 3], [3, 1], [2, 2], temperature=4.0, logit_bias=-1.5, train_stem=train_stem)
    for was, now in zip(before[:-2], model.get_layer("stem").get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    model.compile(keras.optimizers.SGD(0.5), keras_coda.OneVsRestCrossentropy())
    images = rng.random((4, 12, 10, 3), "float32")
    frozen = model.get_layer("stem").get_weights()
    model.fit(images, np.array([0, 1, 2, 0]), batch_size=2, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(frozen, model.get_layer("stem").get_weights(), strict=True)]
    assert any(changed) == train_stem
    for was, now in zip(before, original.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    assert all(layer.trainable for layer in original.layers)

    explanation = keras_coda.explain(model, images, "all")
    logits = model.predict(images, verbose=0)
    assert explanation.contributions.shape == (4, 3, 6, 5, 4)
    np.testing.assert_allclose(explanation.bias, -1.5)
    total = explanation.contributions.sum((2, 3, 4)) + explanation.bias
    assert np.abs(total - logits).max() < 1e-5 * np.abs(logits).max()
    over = explanation.over_image(12, 10).contribution_map
    np.testing.assert_allclose(over, np.kron(explanation.contribution_map, np.ones((2, 2))) / 4, atol=1e-6)
    # Also where pixels are no whole share of positions.
    odd = explanation.over_image(13, 7).contribution_map
    np.testing.assert_allclose(odd.sum((2, 3)), explanation.contribution_map.sum((2, 3)), rtol=1e-5, atol=1e-5)

    model.save(tmp_path / "hybrid.keras")
    loaded = keras.saving.load_model(tmp_path / "hybrid.keras")
    np.testing.assert_allclose(
        keras_coda.explain(loaded, images, "all").contributions, explanation.contributions, atol=1e-6
    )


@pytest.mark.one_backend
def test_arguments_are_those_of_the_layers():
    model = hybrid(stem(), "cut", [5, 3], [3, 1], [2, 4], [2, 1], rescaling="l2", use_bias=False)
    configs = [model.get_layer(f"dau_{number}").get_config() for number in (1, 2)]
    for key, want in (
        ("filters", [5, 3]),
        ("kernel_size", [(3, 3), (1, 1)]),
        ("rank", [2, 4]),
        ("strides", [(2, 2), (1, 1)]),
        ("rescaling", ["l2", "l2"]),
        ("use_bias", [False, False]),
    ):
        assert [config[key] for config in configs] == want


def test_what_is_no_stem():
    with pytest.raises(ValueError, match="Received: 2 filters, 1 kernel_sizes, 2 ranks, 2 strides"):
        hybrid(stem(), "cut", [5, 3], [3], [2, 2])
    with pytest.raises(ValueError, match="must be cut where it has images"):
        hybrid(stem(), stem().layers[-1], [3], [1], [2])


def test_penalty_of_a_branched_network_of_daus(rng):
    """The mean absolute entry of W(x) (eq. 10), by `linear_map`: its gradient reaches every branch."""
    settings = {"padding": "symmetric", **LAST}
    inputs = keras.Input((4, 4, 2))
    x = keras_coda.DAUConv2D(3, 3, 2, **settings)(inputs)
    x = layers.Add()([x, keras_coda.DAUConv2D(3, 3, 2, **settings)(x)])
    model = keras.Model(inputs, keras_coda.layers.SumPooling2D(**LAST)(x))
    images = rng.random((2, 4, 4, 2), "float32")
    weights = [ops.convert_to_numpy(v) for v in model.trainable_variables]

    def penalty(*values):
        with keras.StatelessScope(state_mapping=zip(model.trainable_variables, values, strict=True)):
            outputs, W = keras_coda.linear_maps.linear_map(model, ops.convert_to_tensor(images))
            rows = ops.broadcast_to(ops.expand_dims(ops.eye(3), 1), (3, *ops.shape(outputs)))
            return ops.mean(ops.abs(W.T @ rows))

    value, got = gradients(penalty, weights, np.ones((), "float32"))
    entries = keras_coda.explain(model, images, "all").weights
    np.testing.assert_allclose(value, np.abs(entries).mean(), rtol=1e-5)
    # By the backend's own derivatives. Not by finite differences: near zero entries of W their error is large.
    with using("direct"):
        _, want = gradients(penalty, weights, np.ones((), "float32"))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert all(np.abs(g).max() > 0 for g in got)


def test_a_number_in_place_of_a_list_is_an_error():
    stem = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="cut")])
    with pytest.raises(ValueError, match=r"must each have an entry for every layer\. Received: 2 filters, no list"):
        hybrid(stem, "cut", [5, 3], 3, [2, 2])


def test_logits_have_the_precision_of_the_policy():
    stem = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="cut")])
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert hybrid(stem, "cut", [3], [1], [2]).output.dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


class Scaled(keras.Model):
    def call(self, inputs, **kwargs):
        return super().call(inputs / 255.0, **kwargs)


def test_a_stem_with_a_call_of_its_own_is_refused():
    plain = stem()
    with pytest.raises(ValueError, match=r"\(Scaled\) has its own `call`"):
        hybrid(Scaled(plain.inputs, plain.outputs), "cut", [3], [1], [2])
