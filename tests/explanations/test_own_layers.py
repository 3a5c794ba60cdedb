"""The page on layers of one's own: its B-cos network trains on digits, explains exactly, and saves."""

import keras
import numpy as np
import pytest
import reference
from own_layers import blocks

import keras_coda
from keras_coda import NotDynamicLinearError
from keras_coda.linear_maps import known, rules


@pytest.fixture(scope="module")
def page():
    names = {}
    for block in blocks():
        exec(compile(block, "docs/own_layers.md", "exec"), names)
    return names


def test_it_trains_and_explains_exactly(page, tmp_path):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = (digits.images[..., None] / 16).astype("float32"), digits.target
    model, explanation = page["train_and_explain"](images[:512], labels[:512], epochs=5)
    # Forty steps, after which it is right for 40 to 90 % by seed: three times chance at least.
    assert (model.predict(images[512:1024], verbose=0).argmax(-1) == labels[512:1024]).mean() > 0.3
    logits = model.predict(images[:16], verbose=0)
    total = explanation.contributions.sum((1, 2, 3), dtype="float64") + explanation.bias
    assert np.abs(total - logits[np.arange(16), explanation.targets]).max() < 1e-5 * np.abs(logits).max()
    assert np.abs(explanation.bias).max() > 1e-3
    net = reference.Affine(reference.encode(images[:4]))
    kernels = [np.array(layer.kernel, "float64") for layer in model.layers if hasattr(layer, "kernel")]
    x = net.bcos(*net.inputs(), kernels[0])
    x = x + net.bcos(x, kernels[1])
    x = net.normalize(x, next(layer for layer in model.layers if hasattr(layer, "moving_mean")))
    x = net.bcos(x + net.bcos(x, kernels[2]), kernels[3])
    want = net.shift(x.sum((1, 2)) / 4, model.layers[-1].bias)
    want = want[np.arange(4), explanation.targets[:4]]
    assert reference.relative_error(explanation.weights[:4].reshape(4, -1), want[:, :-1]) < 1e-5
    np.testing.assert_allclose(explanation.bias[:4], want[:, -1], atol=1e-5 * np.abs(logits).max())
    model.save(tmp_path / "bcos.keras")
    loaded = keras.saving.load_model(tmp_path / "bcos.keras")
    np.testing.assert_allclose(keras_coda.explain(loaded, images[:16]).logits, logits, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_it_explains_in_low_precision(page, rng, dtype):
    layer, images = page["BcosConv2D"](2, dtype=dtype), rng.random((2, 5, 5, 3), "float32")
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(keras.layers.Flatten()(layer(inputs))))
    explanation = keras_coda.explain(model, images, "all")
    total = explanation.contributions.sum((2, 3, 4)) + explanation.bias
    assert reference.relative_error(total, model.predict(images, verbose=0)) < 0.03
    assert keras.backend.standardize_dtype(layer.linear_map(keras.ops.cast(images, "bfloat16"))[0].dtype) == "bfloat16"


def test_the_layer_is_the_formula(page, rng):
    """w . x |cos(x, w)|, in float64, at a pixel in the middle."""
    layer = page["BcosConv2D"](2, b=2.0)
    x = rng.standard_normal((1, 5, 5, 3)).astype("float32")
    got = keras.ops.convert_to_numpy(layer(x))[0, 2, 2]
    patch, w = x[0, 1:4, 1:4].astype("float64").reshape(-1), np.array(layer.kernel, "float64").reshape(27, 2)
    w = w / np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(got, patch @ w * np.abs(patch @ w) / np.linalg.norm(patch), rtol=1e-5)


def test_a_call_that_differs_is_found_out(page):
    class Forgetful(page["BcosConv2D"]):
        def call(self, inputs):
            return super().call(inputs) + 1

    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Flatten()(Forgetful(2)(inputs)))
    with pytest.raises(NotDynamicLinearError, match="something else than its `linear_map`"):
        keras_coda.explain(model, np.ones((1, 4, 4, 1), "float32"))


def test_an_entry_of_the_table(page, rng, monkeypatch):
    """For explanations, for DeepLIFT, and checked."""
    inputs = keras.Input((3, 3, 2))
    model = keras.Model(
        inputs, keras.layers.Dense(2)(keras.layers.Flatten()(page["ChannelScale"](name="scale")(inputs)))
    )
    images = rng.random((2, 3, 3, 2), "float32")
    explanation = keras_coda.explain(model, images, "all")
    scale, kernel = model.layers[1].scale, np.array(model.layers[-1].kernel, "float64")
    want = (images * np.array(scale, "float64")).reshape(2, 1, -1) * kernel.T
    assert reference.relative_error(explanation.contributions.reshape(2, 2, -1), want) < 1e-5
    lifted = keras_coda.attributions.DeepLIFT(model)(images, "all")
    np.testing.assert_allclose(lifted, explanation.contributions, atol=1e-6)
    wrong = known.Known(linear_map=rules.identity_layer)
    monkeypatch.setitem(known.LAYERS, page["ChannelScale"], wrong)
    explainer = keras_coda.Explainer(model)
    with pytest.raises(NotDynamicLinearError, match=r"'scale' .* something else"):
        explainer.explain(images)
