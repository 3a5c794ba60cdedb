"""The loss against eq. (9) in float64."""

import keras
import numpy as np
import pytest

from keras_coda import OneVsRestCrossentropy

LABELS = np.array([2, 0, 1, 2])


@pytest.fixture
def logits(rng):
    return (5 * rng.standard_normal((4, 3))).astype("float32")


def crossentropy(targets, logits):
    """-t log sigmoid(y) - (1 - t) log(1 - sigmoid(y)), a mean over classes for each image."""
    logits = logits.astype("float64")
    return np.mean(targets * np.log1p(np.exp(-logits)) + (1 - targets) * np.log1p(np.exp(logits)), axis=-1)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype("uint8"), LABELS.astype("float32"), LABELS.tolist()],
    ids=["N", "N x 1", "one-hot", "uint8", "float", "list"],
)
def test_forms_of_labels(logits, labels):
    want = crossentropy(np.eye(3)[LABELS], logits)
    np.testing.assert_allclose(OneVsRestCrossentropy()(labels, logits), want.mean(), rtol=1e-5)
    np.testing.assert_allclose(OneVsRestCrossentropy(reduction="none")(labels, logits), want, rtol=1e-5)


def test_several_classes_an_image(logits):
    targets = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1], [0.5, 0.25, 0]])
    want = crossentropy(targets, logits).mean()
    np.testing.assert_allclose(OneVsRestCrossentropy()(targets, logits), want, rtol=1e-5)


def test_targets_may_be_rounded(logits):
    want = crossentropy(np.eye(3)[LABELS], logits).mean()
    np.testing.assert_allclose(OneVsRestCrossentropy()(1.0005 * np.eye(3)[LABELS], logits), want, rtol=1e-2)


def test_arguments(logits):
    want = crossentropy(0.9 * np.eye(3)[LABELS] + 0.05, logits)
    loss = OneVsRestCrossentropy(label_smoothing=0.1, reduction="sum")
    np.testing.assert_allclose(loss(LABELS, logits), want.sum(), rtol=1e-5)
    probabilities = 1 / (1 + np.exp(-logits))
    want = crossentropy(np.eye(3)[LABELS], logits).mean()
    np.testing.assert_allclose(OneVsRestCrossentropy(from_logits=False)(LABELS, probabilities), want, rtol=1e-3)
    weights = np.array([1.0, 0.0, 2.0, 0.0])
    want = np.mean(weights * crossentropy(np.eye(3)[LABELS], logits))
    np.testing.assert_allclose(OneVsRestCrossentropy()(LABELS, logits, sample_weight=weights), want, rtol=1e-5)


def test_one_logit_takes_0_and_1_for_no_and_yes():
    logits, answers = np.array([[3.0], [-2.0], [0.5]]), np.array([1, 0, 0])
    want = crossentropy(answers[:, None], logits).mean()
    for labels in (answers, answers[:, None]):
        np.testing.assert_allclose(OneVsRestCrossentropy()(labels, logits), want, rtol=1e-5)


def test_the_example_of_the_docstring():
    np.testing.assert_allclose(OneVsRestCrossentropy()([1, 0], [[-2.0, 2.0], [3.0, -3.0]]), 0.0878, atol=5e-5)


def test_serialization():
    loss = OneVsRestCrossentropy(label_smoothing=0.2, from_logits=False, name="chosen", reduction="sum")
    config = keras.losses.serialize(loss)
    copy = keras.losses.deserialize(config)
    assert type(copy) is OneVsRestCrossentropy
    assert (copy.label_smoothing, copy.from_logits, copy.name, copy.reduction) == (0.2, False, "chosen", "sum")
    assert keras.losses.serialize(copy) == config


@pytest.mark.parametrize("shape", [(4, 2), (4, 1, 1), (4, 3, 1)])
def test_errors(logits, shape):
    message = rf"integers of shape \(N,\) or \(N, 1\), or targets of shape \(N, 3\). Received: shape \({shape[0]}, "
    with pytest.raises(ValueError, match=message):
        OneVsRestCrossentropy()(np.zeros(shape), logits)


WRONG = {
    "too large": [2, 0, 3, 1],
    "negative": [2, 0, -1, 1],
    "fractional": [2.0, 0.5, 1.0, 1.0],
    "NaN": [2.0, np.nan, 1.0, 1.0],
    "targets of -1 and 1": 2 * np.eye(3)[LABELS] - 1,
    "targets above 1": 1.002 * np.eye(3)[LABELS],
}


@pytest.mark.parametrize("kind", WRONG)
def test_labels_that_are_no_classes_are_an_error_or_nan(logits, kind):
    labels = np.asarray(WRONG[kind])
    message = r"Labels must be in 0..2, and targets in \[0, 1\].* Received: "
    with pytest.raises(ValueError, match=message):
        OneVsRestCrossentropy()(labels, logits)
    with pytest.raises(ValueError, match=message):
        OneVsRestCrossentropy()(keras.ops.convert_to_tensor(labels), logits)


@pytest.mark.parametrize("function", ["is_concrete", "runs_on_cpu"])
@pytest.mark.parametrize("kind", WRONG)
def test_in_a_compiled_graph_and_on_a_gpu_wrong_labels_are_nan(monkeypatch, logits, kind, function):
    """Compiled code cannot raise errors, and a GPU is not waited for. The losses of all other images stay the same."""
    monkeypatch.setattr(f"keras_coda.backend.{function}", lambda *_: False)
    labels = keras.ops.convert_to_tensor(np.asarray(WRONG[kind], "float32" if "." in str(WRONG[kind]) else "int32"))
    losses = keras.ops.convert_to_numpy(OneVsRestCrossentropy(reduction="none")(labels, logits))
    values = np.asarray(WRONG[kind], "float64")
    right = np.isin(values, [0, 1, 2]) if values.ndim == 1 else np.zeros(4, bool)
    np.testing.assert_array_equal(np.isnan(losses), ~right)
    if right.any():
        want = crossentropy(np.eye(3)[values[right].astype(int)], logits[right])
        np.testing.assert_allclose(losses[right], want, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "bool"])
def test_in_a_compiled_graph_integers_of_any_size_are_right(monkeypatch, dtype):
    monkeypatch.setattr("keras_coda.backend.is_concrete", lambda tensor: False)
    logits = np.random.default_rng(0).normal(size=(2, 300)).astype("float32")
    one_hot = np.eye(300)[[1, 0]]
    want = crossentropy(one_hot, logits).mean()
    for labels in (np.array([1, 0], dtype), one_hot.astype(dtype)):
        loss = OneVsRestCrossentropy()(keras.ops.convert_to_tensor(labels), logits)
        np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_labels_that_are_no_numbers_are_an_error(logits):
    for labels in (["cat", "dog", "cat", "cat"], np.array([1, None, 2, 0])):
        with pytest.raises(ValueError, match=r"Labels must be in 0..2, .* Received: an array of (<U3|object)"):
            OneVsRestCrossentropy()(labels, logits)


def test_labels_are_not_rounded_to_the_dtype_of_the_loss():
    logits = np.full((1, 300), -5.0, "float32")
    logits[0, 257] = 5.0  # which bfloat16 rounds to 256
    # Another class would add two losses of 5, divided by the number of classes.
    assert float(OneVsRestCrossentropy(dtype="bfloat16")(np.array([257]), logits)) < 5 / 300
