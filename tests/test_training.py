"""From a recipe to a preset."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_coda import data, presets, recipes, training
from keras_coda.data import dataset as dataset_module


@pytest.fixture
def recipe():
    """The digits' recipe, cut down to what shows that it works."""
    recipe = recipes.load("xs_coda_digits")
    small = {"filters": [8, 10], "kernel_sizes": [3, 1], "ranks": [8, 8], "strides": [2, 1], "temperature": 3.0}
    return dataclasses.replace(recipe, model={**recipe.model, **small}, learning_rate=0.05)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    """Some of the digits."""
    (x_train, y_train), (x_test, y_test) = data.load_digits(image_size=8)
    few = data.Dataset(x_train[:320], y_train[:320], x_test[:64], y_test[:64], list("0123456789"))
    monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir: few)
    return few


def test_a_preset_comes_out_with_what_was_measured(recipe, few_digits, tmp_path):
    model, results = training.train(recipe, tmp_path / "preset", epochs=10, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]  # no state of the training is left
    loaded = presets.load(tmp_path / "preset")
    logits = loaded.predict(few_digits.x_test, verbose=0)
    np.testing.assert_allclose(logits, model.predict(few_digits.x_test, verbose=0), rtol=1e-5, atol=1e-5)
    accuracy = np.mean(np.argmax(logits, axis=-1) == few_digits.y_test)
    assert accuracy > 0.5
    metadata = presets.metadata(tmp_path / "preset")
    assert metadata["results"]["test_accuracy"] == pytest.approx(accuracy)
    assert metadata["results"]["test_images"] == 64
    assert metadata["results"]["epochs"] == 10
    assert 0 < metadata["results"]["completeness_residual"] < 1e-4
    assert metadata["image_shape"] == [8, 8, 1]
    one_hot = np.eye(10)[few_digits.y_test]
    log_likelihood = np.logaddexp(0, logits) - one_hot * logits
    assert results["test_loss"] == pytest.approx(log_likelihood.mean(), rel=1e-4)


class StopAfter(keras.callbacks.Callback):
    """Interrupts the process as Ctrl-C would, after some epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_where_it_stopped(recipe, tmp_path, monkeypatch, capsys):
    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, StopAfter(2)], **k)
    )
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, tmp_path / "preset", epochs=4, verbose=0)
    assert not (tmp_path / "preset").exists()
    monkeypatch.setattr(keras.Model, "fit", fit)
    capsys.readouterr()
    model, _ = training.train(recipe, tmp_path / "preset", epochs=4, verbose=2)
    lines = capsys.readouterr().out
    assert "Epoch 3/4" in lines
    assert "Epoch 2/4" not in lines
    # The optimizer went on too: all 40 steps are counted, which the learning rate depends on.
    assert int(model.optimizer.iterations) == 40


def test_a_wrong_target_is_refused_before_training(recipe, tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"preset.*exists"):
        training.train(recipe, tmp_path / "preset", verbose=0)
    with pytest.raises(ValueError, match=r"`epochs` must be positive\. Received: 0"):
        training.train(recipe, tmp_path / "other", epochs=0)
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "mine.txt"]


def test_a_training_that_diverges_says_so_and_writes_no_preset(recipe, few_digits, tmp_path, monkeypatch):
    diverging = dataclasses.replace(recipe, learning_rate=float("nan"))
    with pytest.raises(RuntimeError, match=r"(?i)nan"):
        training.train(diverging, tmp_path / "preset", epochs=2, verbose=0)
    assert not (tmp_path / "preset").exists()


def test_a_training_starts_from_the_weights_of_a_preset(recipe, tmp_path):
    first, _ = training.train(recipe, tmp_path / "first", epochs=1, verbose=0)
    hotter = dataclasses.replace(recipe, model={**recipe.model, "temperature": 6.0}, learning_rate=1e-12)
    model, _ = training.train(hotter, tmp_path / "second", epochs=1, verbose=0, start=tmp_path / "first")
    for got, want in zip(model.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)
    assert presets.metadata(tmp_path / "second")["parameters"] == first.count_params()
    other = dataclasses.replace(recipe, model={**recipe.model, "ranks": [8, 4]})
    for start, message in (
        (tmp_path / "first", "are not those of the network of recipe"),
        ("nonsense", "Unknown preset"),
    ):
        with pytest.raises(presets.PresetError, match=message):
            training.train(other, tmp_path / "third", start=start, verbose=0)
    assert not (tmp_path / "third").exists()
