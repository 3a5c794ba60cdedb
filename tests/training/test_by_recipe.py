"""From a recipe to a preset."""

import dataclasses
import types

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_coda import CoDANet, backend, data, presets, recipes, training
from keras_coda.data import dataset as dataset_module
from keras_coda.data.batches import Batches
from keras_coda.training import by_recipe, fitting, time_limit
from keras_coda.training.state import State


@pytest.fixture
def recipe():
    """A recipe for digits, as small as possible."""
    small = {"filters": [8, 10], "kernel_sizes": [3, 1], "ranks": [8, 8], "strides": [2, 1], "temperature": 3.0}
    model = {**small, "add_negative": False}
    return recipes.Recipe("tiny", "Digits.", "digits", model, learning_rate=0.05, batch_size=32, epochs=20)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    """Some of the digits."""
    (x_train, y_train), (x_test, y_test) = data.load_digits(image_size=8)
    few = data.Dataset(x_train[:320], y_train[:320], x_test[:64], y_test[:64], list("0123456789"))
    monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir: few)
    return few


def test_a_preset_comes_out_with_what_was_measured(recipe, few_digits, tmp_path):
    # Of a training that was killed while it wrote its preset.
    (tmp_path / f".preset.{'0a' * 16}").mkdir()
    model, results = training.train(recipe, tmp_path / "preset", epochs=10, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]  # no state of the training is left
    loaded = presets.load(tmp_path / "preset")
    assert (model.class_names, model.image_size) == (loaded.class_names, loaded.image_size) == ([*"0123456789"], (8, 8))
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
    assert metadata["license"] == "Apache-2.0"
    one_hot = np.eye(10)[few_digits.y_test]
    log_likelihood = np.logaddexp(0, logits) - one_hot * logits
    assert results["test_loss"] == pytest.approx(log_likelihood.mean(), rel=1e-4)


def _interrupt_at(stop):
    """A callback that interrupts a training before an epoch, as Ctrl-C does."""

    def on_epoch_begin(state, epoch, logs=None):
        if epoch == stop:
            raise KeyboardInterrupt
        state._began = 0.0

    return on_epoch_begin


def test_an_interrupted_training_goes_on_where_it_stopped(recipe, tmp_path, monkeypatch, capsys):
    recipe = dataclasses.replace(recipe, seed=5)
    shuffle, shuffled = Batches.shuffle, []

    def record(batches, epoch):
        shuffled.append((batches.seed, epoch))
        shuffle(batches, epoch)

    monkeypatch.setattr(Batches, "shuffle", record)
    on_epoch_begin = State.on_epoch_begin
    monkeypatch.setattr(State, "on_epoch_begin", _interrupt_at(2))
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, tmp_path / "preset", epochs=4, verbose=0)
    assert not (tmp_path / "preset").exists()
    monkeypatch.setattr(State, "on_epoch_begin", on_epoch_begin)
    capsys.readouterr()
    model, _ = training.train(recipe, tmp_path / "preset", epochs=4, verbose=2)
    lines = capsys.readouterr().out
    assert "Epoch 3/4" in lines
    assert "Epoch 2/4" not in lines
    # The optimizer has resumed, too: it counts all 40 steps, on which the learning rate depends.
    assert int(model.optimizer.iterations) == 40
    # Each epoch has its own order of the images, and augmentation, from the recipe's seed.
    assert shuffled[-2:] == [(5, 2), (5, 3)]


STAGES = [{"scale": 0.5, "share": 0.5}, {"scale": 1, "share": 0.5}]


def test_a_training_in_stages_is_the_same_after_an_interruption(recipe, tmp_path, monkeypatch, capsys):
    in_stages = dataclasses.replace(recipe, stages=STAGES)
    whole, _ = training.train(in_stages, tmp_path / "whole", epochs=4, verbose=0)
    assert type(whole) is CoDANet
    for epoch in (1, 3):  # in each of the stages
        with monkeypatch.context() as patched:
            patched.setattr(State, "on_epoch_begin", _interrupt_at(epoch))
            with pytest.raises(KeyboardInterrupt):
                training.train(in_stages, tmp_path / "preset", epochs=4, verbose=0)
    logs = tmp_path / "logs"
    model, results = training.train(in_stages, tmp_path / "preset", epochs=4, verbose=2, logs=logs)
    lines = capsys.readouterr().out
    assert "Epochs 3 to 4: images of 1 times their height and width" in lines
    assert "Epoch 3/4" not in lines
    assert results["epochs"] == 4
    assert list(pd.read_csv(logs / "training.csv")["epoch"]) == [1, 2, 3, 4]
    for found, expected in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    plain, _ = training.train(recipe, tmp_path / "plain", epochs=4, verbose=0)
    assert not np.allclose(plain.get_weights()[0], whole.get_weights()[0], atol=1e-3)


@pytest.mark.one_backend
def test_a_training_is_not_resumed_with_other_data(recipe, few_digits, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(State, "on_epoch_begin", _interrupt_at(1))
        with pytest.raises(KeyboardInterrupt):
            training.train(recipe, tmp_path / "preset", epochs=2, verbose=0)
    fewer = few_digits._replace(x_train=few_digits.x_train[:300], y_train=few_digits.y_train[:300])
    for other, message in (
        (fewer, r"\{'images': 300, 'labels.*\}, where there is \{'images': 320, "),
        (
            few_digits._replace(classes=list("abcdefghij")),
            r"\{'classes': \['a', .*, where there is \{'classes': \['0',",
        ),
        (
            few_digits._replace(y_train=few_digits.y_train[::-1]),
            r"Received: \{'labels_sha256': '\w{64}'\}, where",
        ),
    ):
        monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir, other=other: other)
        with pytest.raises(ValueError, match=rf"preset\.training holds the state of another training.*{message}"):
            training.train(recipe, tmp_path / "preset", epochs=2, verbose=0)
    monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir: few_digits)
    _, results = training.train(recipe, tmp_path / "preset", epochs=2, verbose=0)
    assert results["epochs"] == 2


@pytest.mark.one_backend
@pytest.mark.parametrize("other", [{"epochs": 3}, {"start": "xs_coda_digits"}, {"limit_minutes": 1.0}])
def test_all_that_decides_a_training_is_in_its_plan(recipe, tmp_path, other):
    runs = [fitting.Run(recipe, tmp_path, training.Options(**options)) for options in ({}, {"verbose": 0}, other)]
    assert runs[0].plan == runs[1].plan != runs[2].plan


@pytest.mark.parametrize("name", ["Fotos_(2023)", "写真", "cats & dogs", "_new", "-"])
def test_names_of_all_scripts_are_those_of_presets(recipe, few_digits, tmp_path, name):
    training.train(dataclasses.replace(recipe, name=name), tmp_path / name, epochs=1, verbose=0)
    assert presets.metadata(tmp_path / name)["name"] == name
    assert presets.load(tmp_path / name).predict(few_digits.x_test, verbose=0).shape == (64, 10)


@pytest.mark.one_backend
def test_a_network_has_the_name_of_its_recipe_where_it_can(recipe, few_digits):
    for name, want in (("xs_coda-1.5", "xs_coda-1.5"), ("写真", "coda_net"), ("_Käfer (2)", "K_fer__2_")):
        assert fitting.network(CoDANet, dataclasses.replace(recipe, name=name), few_digits).name == want


@pytest.mark.one_backend
def test_the_users_own_files_beside_a_state_stay(recipe, tmp_path):
    mine = tmp_path / "preset.training" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep me")
    # Of a training that was killed while it wrote.
    (mine.parent / ".epoch.partial").write_text("")
    training.train(recipe, tmp_path / "preset", epochs=1, verbose=0, logs=mine.parent)
    assert mine.read_text() == "keep me"
    assert {path.name for path in mine.parent.iterdir()} == {"mine.txt", "training.csv", "maps", "maps.webp"}


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("preset", "logs"), [("photos/preset", None), ("preset", "photos/logs"), ("photos", None), ("pho", None)]
)
def test_nothing_is_written_into_the_folder_of_the_photos(recipe, tmp_path, monkeypatch, preset, logs):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ("pho.training" if preset == "pho" else "photos")
    folder.mkdir()
    of_photos = dataclasses.replace(recipe, dataset=f"{folder.name}/")
    with pytest.raises(
        ValueError,
        match=rf"outside of that of the photos, {folder.name}/, .*Received: {preset if logs is None else logs}",
    ):
        training.train(of_photos, preset, logs=logs, overwrite=True)
    assert [*folder.iterdir()] == []


@pytest.mark.one_backend
def test_the_current_folder_is_no_preset(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`directory` must be the path of a folder to write.*Received: \.$"):
        training.train(recipe, ".", overwrite=True)


@pytest.mark.one_backend
@pytest.mark.parametrize("count", [9, 12])
def test_another_number_of_filters_than_classes_is_refused_before_training(recipe, tmp_path, count):
    other = dataclasses.replace(recipe, model={**recipe.model, "filters": [8, count]})
    with pytest.raises(ValueError, match=rf"'tiny' must have 10 filters.* digits\. Received: filters=\[8, {count}\]"):
        training.train(other, tmp_path / "preset", epochs=1, verbose=0)
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend
def test_filters_that_replace_those_of_a_size_are_checked_before_training(recipe, tmp_path):
    other = dataclasses.replace(recipe, model={**recipe.model, "size": "s", "filters": [8, 12]})
    with pytest.raises(ValueError, match=r"'tiny' must have 10 filters.* digits\. Received: filters=\[8, 12\]"):
        training.train(other, tmp_path / "preset", epochs=1, verbose=0)
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend
@pytest.mark.parametrize("part", ["x_train", "x_test"])
@pytest.mark.parametrize("value", [np.nan, 255.0])
def test_images_out_of_range_are_refused_before_training(recipe, few_digits, tmp_path, monkeypatch, part, value):
    images = getattr(few_digits, part).copy()
    images[-1, 0, 0, 0] = value
    monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir: few_digits._replace(**{part: images}))
    with pytest.raises(ValueError, match=rf"images {part} .*in \[0, 1\].*Received: .* to {value:g}"):
        training.train(recipe, tmp_path / "preset", epochs=1, verbose=0)
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend
def test_a_preset_of_a_users_own_data_has_no_license(recipe, few_digits, tmp_path):
    np.savez(tmp_path / "few.npz", **few_digits._asdict())
    own = dataclasses.replace(recipe, dataset=str(tmp_path / "few.npz"))
    training.train(own, tmp_path / "preset", epochs=1, verbose=0)
    assert presets.metadata(tmp_path / "preset")["license"] is None


@pytest.mark.one_backend
def test_classes_may_share_a_name_and_data_are_in_the_given_folder(recipe, few_digits, tmp_path, monkeypatch):
    folders, shared = [], few_digits._replace(classes=[*"0123456788"])
    monkeypatch.setitem(dataset_module._LOADERS, "digits", lambda data_dir: folders.append(data_dir) or shared)
    model, _ = training.train(recipe, tmp_path / "preset", epochs=1, verbose=0, data_dir=tmp_path)
    assert model.class_names is None
    assert presets.metadata(tmp_path / "preset")["classes"] == shared.classes
    assert folders == [tmp_path]


@pytest.mark.one_backend
def test_the_first_test_images_are_explained(few_digits, monkeypatch):
    explained = []

    class Model:
        classes = 10

        def predict(self, images, verbose):
            return np.eye(10, dtype="float32")[few_digits.y_test[: len(images)]]

        def explain(self, images, target):
            explained.append(images)
            return types.SimpleNamespace(relative_residual=np.full((len(images), 10), 0.5 / len(explained)))

    monkeypatch.setattr(by_recipe, "EXPLAINED", 35)
    monkeypatch.setattr(by_recipe, "EXPLAINED_AT_ONCE", 2)
    results = training.score(Model(), few_digits)
    assert (results["test_accuracy"], results["completeness_residual"]) == (1.0, 0.5)
    np.testing.assert_array_equal(np.concatenate(explained), few_digits.x_test[:3])


@pytest.mark.one_backend
def test_a_tilde_is_the_home_folder(recipe, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    training.train(recipe, "~/preset", epochs=1, verbose=0, logs="~/logs")
    assert presets.metadata("~/preset")["name"] == "tiny"
    assert (home / "logs" / "training.csv").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    monkeypatch.setattr(fitting, "fit", None)  # refused before training
    with pytest.raises(presets.PresetError, match="preset exists"):
        training.train(recipe, "~/preset", epochs=1, verbose=0)
    with pytest.raises(ValueError, match="`logs` must be outside of the preset's folder"):
        training.train(recipe, "~/other", epochs=1, verbose=0, logs=home / "other" / "logs")


@pytest.mark.one_backend
def test_a_wrong_target_is_refused_before_training(recipe, tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"preset.*exists"):
        training.train(recipe, tmp_path / "preset", verbose=0)
    for epochs in (0, 1.5, "2"):
        with pytest.raises(ValueError, match=f"`epochs` must be a positive integer. Received: {epochs!r}"):
            training.train(recipe, tmp_path / "other", epochs=epochs)
    with pytest.raises(ValueError, match=r"`limit_minutes` must be positive .*limit_minutes='1'"):
        training.train(recipe, tmp_path / "other", limit_minutes="1")
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "mine.txt"]


class Poisoned(Batches):
    """Batches with NaN from the third epoch on."""

    def shuffle(self, epoch):
        super().shuffle(epoch)
        self.epoch = epoch

    def __getitem__(self, number):
        images, labels, weights = super().__getitem__(number)
        return images, labels, weights * (np.nan if self.epoch >= 2 else 1)


def test_a_training_that_diverges_ends_with_the_last_good_epoch(recipe, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "Batches", Poisoned)
    out = tmp_path / "preset"
    with pytest.raises(FloatingPointError, match=r"became NaN or infinite in epoch 3\..*after epoch 2.*last_good"):
        training.train(recipe, out, epochs=4, verbose=0)
    assert not out.exists()
    assert presets.metadata(tmp_path / "preset.last_good")["results"]["epochs"] == 2
    assert [path.name for path in sorted((tmp_path / "preset.training").glob("*.npz"))] == [
        "epoch_00001.npz",
        "epoch_00002.npz",
    ]
    with np.load(tmp_path / "preset.training" / "epoch_00002.npz") as arrays:
        weights = [*arrays.values()]
    for got, want in zip(presets.load(tmp_path / "preset.last_good").get_weights(), weights, strict=False):
        np.testing.assert_array_equal(got, want)
    # Once more, from the state of epoch 2.
    with pytest.raises(FloatingPointError, match=r"in epoch 3\..*after epoch 2.*last_good"):
        training.train(recipe, out, epochs=4, verbose=0)


def test_averages_of_weights_are_kept_after_an_interruption_and_after_nan(recipe, tmp_path, monkeypatch):
    averaged = {"name": "adam", "use_ema": True, "ema_momentum": 0.9}
    recipe = dataclasses.replace(recipe, optimizer=averaged, schedule={"decay": "none"}, epochs=2)
    whole, _ = training.train(recipe, tmp_path / "whole", verbose=0)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(by_recipe, "score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.train(recipe, tmp_path / "preset", verbose=0)
    resumed, _ = training.train(recipe, tmp_path / "preset", verbose=0)
    monkeypatch.setattr(fitting, "Batches", Poisoned)
    with pytest.raises(FloatingPointError, match=r"after epoch 2.*last_good"):
        training.train(recipe, tmp_path / "nan", epochs=3, verbose=0)
    for model in (resumed, presets.load(tmp_path / "nan.last_good")):
        for got, want in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def test_what_is_not_finite_is_not_drawn(recipe, few_digits, tmp_path, monkeypatch):
    """Maps would be drawn after epochs 1, 2 and 3 of 3. After the third the network has NaN."""
    monkeypatch.setattr(fitting, "Batches", Poisoned)
    with pytest.raises(FloatingPointError, match=r"in epoch 3\..*after epoch 2.*last_good"):
        training.train(recipe, tmp_path / "preset", epochs=3, verbose=0, logs=tmp_path / "logs")
    assert [path.stem for path in sorted((tmp_path / "logs" / "maps").iterdir())] == [
        f"epoch_0000{epoch}" for epoch in (0, 1, 2)
    ]
    assert presets.metadata(tmp_path / "preset.last_good")["results"]["epochs"] == 2


def test_weights_that_are_not_finite_are_not_kept(recipe, few_digits, tmp_path, monkeypatch):
    nan = [np.nan * array for array in fitting.network(CoDANet, recipe, few_digits).get_weights()]
    get_weights, end = CoDANet.get_weights, fitting.StopOnNaN.on_epoch_end

    def on_epoch_end(watch, epoch, logs=None):
        monkeypatch.setattr(CoDANet, "get_weights", (lambda model: nan) if epoch == 1 else get_weights)
        end(watch, epoch, logs)
        monkeypatch.setattr(CoDANet, "get_weights", get_weights)

    monkeypatch.setattr(fitting.StopOnNaN, "on_epoch_end", on_epoch_end)
    with pytest.raises(FloatingPointError, match=r"in epoch 2\..*after epoch 1.*last_good"):
        training.train(recipe, tmp_path / "preset", epochs=3, verbose=0)
    assert presets.metadata(tmp_path / "preset.last_good")["results"]["epochs"] == 1


def test_a_training_in_bfloat16_goes_on(recipe, few_digits, tmp_path, monkeypatch):
    low = dataclasses.replace(recipe, dtype="bfloat16")
    whole, _ = training.train(low, tmp_path / "whole", epochs=3, verbose=0)
    with monkeypatch.context() as patched:
        patched.setattr(State, "on_epoch_begin", _interrupt_at(1))
        with pytest.raises(KeyboardInterrupt):
            training.train(low, tmp_path / "preset", epochs=3, verbose=0)
    model, results = training.train(low, tmp_path / "preset", epochs=3, verbose=0)
    assert results["epochs"] == 3
    for got, want in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_of_two_trainings_into_one_folder_the_second_is_refused_before_it_trains(recipe, few_digits, tmp_path):
    """A second training, with another seed, starts in the middle of the first."""
    errors = []

    class Second(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                try:
                    training.train(dataclasses.replace(recipe, seed=1), tmp_path / "preset", epochs=1, verbose=0)
                except ValueError as error:
                    errors.append(str(error))

    fit = fitting.fit
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "fit", lambda run, dataset: fit(run, dataset, [Second()] if run.epochs == 2 else ()))
        training.train(recipe, tmp_path / "preset", epochs=2, verbose=0)
    assert len(errors) == 1
    assert "Another training writes to" in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.one_backend
def test_a_training_that_diverges_at_once_leaves_no_preset(recipe, tmp_path):
    diverging = dataclasses.replace(recipe, learning_rate=float("inf"))
    with pytest.raises(FloatingPointError, match=r"in epoch 1\..*Nothing was kept"):
        training.train(diverging, tmp_path / "preset", epochs=2, verbose=0)
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend
def test_logs_are_a_table_and_pictures_of_the_same_images(recipe, few_digits, tmp_path):
    logs = tmp_path / "logs"
    training.train(recipe, tmp_path / "preset", epochs=5, verbose=0, logs=logs)
    table = pd.read_csv(logs / "training.csv")
    assert [*table] == ["epoch", "seconds", "learning_rate", "accuracy", "loss"]
    assert [*table["epoch"]] == [1, 2, 3, 4, 5]
    cosine = recipe.learning_rate / 2 * (1 + np.cos(np.pi * np.arange(1, 6) / 5))
    np.testing.assert_allclose(table["learning_rate"], cosine, atol=1e-7)
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    pictures = sorted((logs / "maps").iterdir())
    assert [path.name for path in pictures] == [f"epoch_0000{epoch}.png" for epoch in (0, 1, 2, 4, 5)]
    assert len({path.read_bytes() for path in pictures}) == 5
    with Image.open(logs / "maps.webp") as animation, Image.open(pictures[0]) as picture:
        assert animation.n_frames == 5
        assert animation.size == picture.size


def test_logs_in_the_folder_of_the_preset_are_refused_before_training(recipe, tmp_path):
    for logs in (tmp_path / "preset", tmp_path / "preset" / "logs"):
        with pytest.raises(ValueError, match="`logs` must be outside of the preset's folder"):
            training.train(recipe, tmp_path / "preset", logs=logs)
    assert not any(tmp_path.iterdir())


@pytest.mark.one_backend
def test_tensorboard_has_the_loss_of_each_epoch(recipe, few_digits, tmp_path):
    pytest.importorskip("tensorboard")
    tensorflow = pytest.importorskip("tensorflow")
    training.train(recipe, tmp_path / "preset", epochs=2, verbose=0, logs=tmp_path, tensorboard=True)
    table = pd.read_csv(tmp_path / "training.csv")
    (file,) = (tmp_path / "tensorboard" / "train").iterdir()
    events = [event for event in tensorflow.compat.v1.train.summary_iterator(str(file)) if event.summary.value]
    losses = {
        event.step: float(tensorflow.make_ndarray(value.tensor))
        for event in events
        for value in event.summary.value
        if value.tag == "epoch_loss"
    }
    assert losses == pytest.approx(dict(enumerate(table["loss"])), rel=1e-5)


@pytest.mark.one_backend
def test_tensorboard_needs_logs(recipe, tmp_path):
    with pytest.raises(ImportError, match=r"`tensorboard` needs a folder of `logs`.*Received: logs=None"):
        training.train(recipe, tmp_path / "preset", tensorboard=True)


class Clock:
    """A clock that only training steps advance: by `measured` seconds at first, and by `seconds` in the training."""

    def __init__(self, monkeypatch, measured, seconds):
        self.now = 0.0
        for module in (by_recipe, fitting, time_limit):
            monkeypatch.setattr(module, "time", self)
        for place, method, took in (
            (CoDANet, "train_on_batch", measured),
            (time_limit.StopAfter, "on_train_batch_end", seconds),
        ):
            monkeypatch.setattr(place, method, self._timed(getattr(place, method), took))

    def _timed(self, method, seconds):
        def timed(*args, **kwargs):
            self.now += seconds
            return method(*args, **kwargs)

        return timed

    def monotonic(self):
        return self.now


@pytest.mark.one_backend
def test_a_training_is_fitted_to_the_time(recipe, few_digits, tmp_path, monkeypatch):
    Clock(monkeypatch, 1.0, 1.0)
    monkeypatch.setattr(time_limit, "seconds_of_prediction", lambda *_: 5.0)
    model, results = training.train(recipe, tmp_path / "preset", epochs=100, limit_minutes=1, verbose=0, logs=tmp_path)
    # Of 60 seconds, 5 were used for measuring, none are for compiling again, 15 are kept for the evaluation, and 9
    # tenths of the others are planned.
    assert int(model.optimizer.iterations) == 36
    assert results["epochs"] == pytest.approx(3.6)
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-8)  # the end of the cosine
    assert presets.metadata(tmp_path / "preset")["results"]["epochs"] == pytest.approx(3.6)
    assert len(pd.read_csv(tmp_path / "training.csv")) == 4


@pytest.mark.one_backend
@pytest.mark.parametrize(("seconds", "epochs"), [(46, 4), (47, 5), (12, 0.9)])
def test_stages_are_fitted_to_the_time(recipe, few_digits, tmp_path, monkeypatch, seconds, epochs):
    """Two stages, of 2 and 3 of 5 epochs. 10 small steps take 5.6 s, 10 others 11.1 s, and each stage starts in 1 s."""
    Clock(monkeypatch, 0.0, 0.0)
    monkeypatch.setattr(time_limit, "seconds_of_steps", lambda model, batches: (1.0, float(model.scale)))
    in_stages = dataclasses.replace(recipe, stages=STAGES)
    _, results = training.train(in_stages, tmp_path / "preset", epochs=100, limit_minutes=seconds / 60, verbose=0)
    assert results["epochs"] == epochs


@pytest.mark.one_backend
def test_a_training_that_is_late_ends_in_its_stage(recipe, few_digits, tmp_path, monkeypatch):
    Clock(monkeypatch, 1.0, 4.0)
    in_stages = dataclasses.replace(recipe, stages=STAGES)
    logs = tmp_path / "logs"
    _, results = training.train(in_stages, tmp_path / "preset", epochs=8, limit_minutes=1, verbose=0, logs=logs)
    assert results["epochs"] == pytest.approx(1.3)  # 10 seconds went into measuring; of two epochs of the first stage
    assert list(pd.read_csv(logs / "training.csv")["epoch"]) == [1, 2]
    assert [path.name for path in sorted((logs / "maps").iterdir())] == [f"epoch_0000{n}.png" for n in (0, 1, 2)]


@pytest.mark.one_backend
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_frozen_layers_are_frozen_in_the_preset(recipe, tmp_path, dtype):
    training.train(dataclasses.replace(recipe, freeze=["dau_1"], dtype=dtype), tmp_path / "preset", epochs=1, verbose=0)
    model = presets.load(tmp_path / "preset")
    assert [layer.name for layer in model.layers if not layer.trainable] == ["dau_1"]


@pytest.mark.one_backend
def test_a_training_with_time_enough_has_all_its_epochs(recipe, few_digits, tmp_path, monkeypatch):
    Clock(monkeypatch, 0.01, 0.01)
    model, results = training.train(recipe, tmp_path / "preset", epochs=2, limit_minutes=1, verbose=0)
    assert results["epochs"] == 2
    assert int(model.optimizer.iterations) == 20


@pytest.mark.one_backend
def test_a_training_stops_in_time_though_steps_take_longer_than_measured(recipe, few_digits, tmp_path, monkeypatch):
    Clock(monkeypatch, 1.0, 4.0)
    model, results = training.train(recipe, tmp_path / "preset", epochs=100, limit_minutes=1, verbose=0)
    assert int(model.optimizer.iterations) == 14  # 5 seconds went into measuring; the first step after 60
    assert results["epochs"] == pytest.approx(1.4)
    assert presets.load(tmp_path / "preset").predict(few_digits.x_test, verbose=0).shape == (64, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.one_backend
@pytest.mark.parametrize(("minutes", "message"), [(0, "must be positive"), (0.05, "too short.*Received: 0.05")])
def test_too_little_time_is_refused(recipe, few_digits, tmp_path, monkeypatch, minutes, message):
    Clock(monkeypatch, 1.0, 1.0)
    with pytest.raises(ValueError, match=f"`limit_minutes` .*{message}"):
        training.train(recipe, tmp_path / "preset", limit_minutes=minutes, verbose=0)
    assert not (tmp_path / "preset").exists()


def test_a_network_trained_in_low_precision_is_saved_in_float32(recipe, few_digits, tmp_path):
    low = dataclasses.replace(recipe, dtype="mixed_bfloat16")
    model, results = training.train(low, tmp_path / "preset", epochs=2, verbose=0)
    assert model.dtype_policy.name == presets.load(tmp_path / "preset").dtype_policy.name == "float32"
    assert results["completeness_residual"] < 1e-4
    exact, _ = training.train(recipe, tmp_path / "exact", epochs=2, verbose=0)
    difference = max(
        np.abs(got - want).max() for got, want in zip(model.get_weights(), exact.get_weights(), strict=True)
    )
    assert 1e-5 < difference < 0.2  # low precision, with about the same training


def test_one_device_by_its_number_is_the_default_one(recipe, tmp_path):
    """Also where gradients are accumulated, which TensorFlow's strategy for several devices cannot do."""
    optimizer = {"name": "sgd", "gradient_accumulation_steps": 2}
    recipe = dataclasses.replace(recipe, optimizer=optimizer, learning_rate=0.5, epochs=1)
    one, default = (training.train(recipe, tmp_path / str(n), devices=n, verbose=0)[0] for n in (1, None))
    for got, want in zip(one.get_weights(), default.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_optimizer_is_the_recipes(recipe, few_digits, tmp_path):
    other = dataclasses.replace(recipe, optimizer={"name": "adamw", "weight_decay": 0.25})
    model, _ = training.train(other, tmp_path / "preset", epochs=1, verbose=0)
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    assert model.optimizer.weight_decay == 0.25


def test_the_optimizers_arguments_may_be_texts_where_it_has_texts(recipe):
    muon = dataclasses.replace(recipe, optimizer={"name": "keras_coda>Muon", "iteration_dtype": "bfloat16"})
    assert fitting.optimizer(muon, steps=1).iteration_dtype == "bfloat16"


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


@pytest.mark.one_backend
def test_a_new_last_layer_is_that_of_the_seed(recipe, few_digits, tmp_path):
    model = CoDANet(**recipe.model, image_shape=(None, None, 1))
    folder = model.save_to_preset(tmp_path / "start", classes=[*"abcdefghij"])
    seeded = [dataclasses.replace(recipe, seed=seed) for seed in (0, 0, 1)]
    first, same, other = (by_recipe._weights_of(folder, one, few_digits) for one in seeded)
    assert all(map(np.array_equal, first, same))
    assert not all(map(np.array_equal, first, other))


@pytest.mark.one_backend
def test_a_schedule_is_in_epochs_of_the_recipe(recipe):
    stairs = dataclasses.replace(recipe, schedule={"decay": "steps", "factor": 0.5, "every": 5})
    optimizer, rates = fitting.optimizer(stairs, steps=100), []
    for step in (0, 24, 25, 99):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, 0.05 * np.array([1, 1, 0.5, 0.125]), rtol=1e-5)


@pytest.mark.skipif(not backend.takes_device_batches, reason="Here `fit` takes its batches from the host.")
def test_images_on_the_device_lead_to_the_same_network(recipe, tmp_path, monkeypatch):
    recipe = dataclasses.replace(recipe, augmentation={"flip": True, "crop_padding": 1}, epochs=2)
    of_host, _ = training.train(recipe, tmp_path / "host", verbose=0)
    monkeypatch.setattr(fitting, "_fit_on_device", lambda run, images: True)
    made = []
    init = data.DeviceImages.__init__
    monkeypatch.setattr(data.DeviceImages, "__init__", lambda self, images: made.append(self) or init(self, images))
    of_device, _ = training.train(recipe, tmp_path / "device", verbose=0)
    assert len(made) == 1
    with pytest.raises(ValueError, match="too short"):  # after some steps were timed
        training.train(recipe, tmp_path / "timed", verbose=0, limit_minutes=1e-9)
    for expected, found in zip(of_host.get_weights(), of_device.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_images_that_fit_are_kept_on_a_device_with_its_own_memory(recipe, few_digits, tmp_path, monkeypatch):
    run, images = fitting.Run(recipe, tmp_path), few_digits.x_train
    assert not fitting._fit_on_device(run, images)  # on a CPU
    monkeypatch.setattr(backend, "runs_on_cpu", lambda: False)
    assert fitting._fit_on_device(run, images) == (keras.backend.backend() != "tensorflow")
    monkeypatch.setattr(backend, "takes_device_batches", True)
    assert fitting._fit_on_device(run, images)
    augmented = dataclasses.replace(recipe, augmentation={"rand_augment": {"num_ops": 1, "magnitude": 9}})
    of_two = dataclasses.replace(run.options, devices=2)
    for other in (dataclasses.replace(run, recipe=augmented), dataclasses.replace(run, options=of_two)):
        assert not fitting._fit_on_device(other, images)
    assert not fitting._fit_on_device(run, data.StoredImages([], 32, 32))
    monkeypatch.setattr(fitting, "MOST_ON_DEVICE", images.nbytes)
    assert not fitting._fit_on_device(run, images)
