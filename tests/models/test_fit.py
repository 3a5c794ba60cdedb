"""Training with plain `compile` and `fit`."""

import keras
import numpy as np
import pytest
import reference
from small_models import CLASSES, IMAGE_SHAPE, LOGIT_BIAS, TEMPERATURE, copy, small_coda_net

from keras_coda import OneVsRestCrossentropy

TWO_LAYERS = {"filters": [3, CLASSES], "kernel_sizes": [3, 3], "ranks": [2, 3], "strides": [1, 2]}


@pytest.fixture
def colours(rng):
    """Red, green, blue and grey images: a problem that a CoDA-Net learns at once."""
    labels = np.arange(32) % CLASSES
    images = rng.uniform(0, 0.2, (32, *IMAGE_SHAPE))
    images += np.array([[0.8, 0, 0], [0, 0.8, 0], [0, 0, 0.8], [0.4, 0.4, 0.4]])[labels, None, None]
    return images.astype("float32"), labels


def test_learns(colours):
    images, labels = colours
    model = small_coda_net()
    model.compile(keras.optimizers.Adam(0.02), OneVsRestCrossentropy(), metrics=["accuracy"])
    history = model.fit(images, labels, epochs=25, batch_size=12, verbose=0).history
    assert not model.run_eagerly
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] == 1
    explanation = model.explain(images)
    np.testing.assert_array_equal(explanation.targets, labels)
    assert np.abs(explanation.residual).max() < 1e-4 * np.abs(explanation.logits).max()


def test_labels_of_every_form_train_alike(colours):
    images, labels = colours[0][:8], colours[1][:8]
    model = small_coda_net(filters=[CLASSES], kernel_sizes=[3], ranks=[2], strides=[2])
    outputs, _ = reference.coda_net(images, reference.layers_of(model))
    logits = outputs / TEMPERATURE + LOGIT_BIAS
    targets = np.eye(CLASSES)[labels]
    want = np.mean(targets * np.log1p(np.exp(-logits)) + (1 - targets) * np.log1p(np.exp(logits)))
    accuracy = np.mean(logits.argmax(-1) == labels)
    for form in (labels, labels[:, None], targets.astype("float32")):
        fresh = copy(model)
        fresh.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy(), metrics=["accuracy"])
        history = fresh.fit(images, form, epochs=2, batch_size=8, verbose=0).history
        np.testing.assert_allclose(history["loss"][0], want, rtol=1e-5)
        np.testing.assert_allclose(history["accuracy"][0], accuracy, rtol=1e-5)
        trained = [np.array(v) for v in fresh.trainable_variables]
        if form is labels:
            first = trained
        for got, one in zip(trained, first, strict=True):
            np.testing.assert_allclose(got, one, atol=1e-6)
    assert any(np.abs(a - np.array(b)).max() > 1e-4 for a, b in zip(first, model.trainable_variables, strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(colours, policy):
    images, labels = colours
    model = small_coda_net(**TWO_LAYERS, dtype=policy, penalty=0.01, image_shape=(None, None, 3))
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model.get_layer("dau_1").compute_dtype == policy.removeprefix("mixed_")
    assert model.output.dtype == "float32"
    model.compile(keras.optimizers.Adam(0.01), OneVsRestCrossentropy())
    scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales_loss == (policy == "mixed_float16")
    before = [np.array(v) for v in model.trainable_variables]
    losses = model.fit(images, labels, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(np.isfinite(np.array(v)).all() for v in model.trainable_variables)
    assert all((np.array(v) != b).any() for v, b in zip(model.trainable_variables, before, strict=True))
    explanation = model.explain(images[:2])
    assert explanation.logits.dtype == "float32"
    assert np.isfinite(explanation.contributions).all()
    # float32 logits from float16 or bfloat16 layers
    outputs, _ = reference.coda_net(images[:2], reference.layers_of(model))
    assert reference.relative_error(explanation.logits, outputs / TEMPERATURE + LOGIT_BIAS) < 0.05


def mean_absolute_map(model, images):
    return np.abs(reference.coda_net(images, reference.layers_of(model))[1]).mean()


def test_the_penalty_lowers_the_maps(colours):
    """With the penalty, in compiled training, W(x) becomes smaller than without; its metric is that of W(x) / T."""
    images, labels = colours
    plain = small_coda_net(**TWO_LAYERS)
    penalized = small_coda_net(**TWO_LAYERS, penalty=20 * TEMPERATURE, penalized_classes="all")
    for got, want in zip(penalized.trainable_variables, plain.trainable_variables, strict=True):
        got.assign(np.array(want))
    before = mean_absolute_map(plain, images)
    history = []
    for model in (plain, penalized):
        model.compile(keras.optimizers.Adam(0.01), OneVsRestCrossentropy(), run_eagerly=False)
        history.append(model.fit(images, labels, epochs=4, batch_size=32, verbose=0).history)
        assert not model.run_eagerly
    assert mean_absolute_map(penalized, images) < 0.8 * mean_absolute_map(plain, images)
    # The first batch is seen with the same weights by both.
    np.testing.assert_allclose(history[1]["penalty"][0], before / TEMPERATURE, rtol=1e-4)
    np.testing.assert_allclose(history[1]["loss"][0], history[0]["loss"][0] + 20 * before, rtol=1e-4)
    assert "penalty" not in history[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_without_the_penalty_is_the_cross_entropy(colours, weighted):
    """In the logs, which are means over images, also if the last batch is small."""
    images, labels = colours[0][:5] * np.array([1, 1, 1, 1, 0.1], "float32")[:, None, None, None], colours[1][:5]
    weights = np.array([1, 2, 0.5, 1, 3]) if weighted else np.ones(5)
    model = small_coda_net(**TWO_LAYERS, penalty=2.0, penalized_classes="all")
    outputs, matrices = reference.coda_net(images, reference.layers_of(model))
    logits, targets = outputs / TEMPERATURE + LOGIT_BIAS, np.eye(CLASSES)[labels]
    cross_entropy = np.mean(np.logaddexp(0, logits) - targets * logits, axis=-1)
    penalty = np.abs(matrices).reshape(5, -1).mean(axis=-1) / TEMPERATURE
    model.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    arguments = {"batch_size": 4, "sample_weight": weights if weighted else None, "verbose": 0}
    fitted = {name: values[0] for name, values in model.fit(images, labels, **arguments).history.items()}
    for logs in (fitted, model.evaluate(images, labels, **arguments, return_dict=True)):
        np.testing.assert_allclose(logs["penalty"], np.mean(weights * penalty), rtol=1e-4)
        np.testing.assert_allclose(logs["loss"] - 2 * logs["penalty"], np.mean(weights * cross_entropy), rtol=1e-4)
