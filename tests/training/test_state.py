"""The state of a training: after a kill, on a full disk, damaged."""

import dataclasses
import json
import pathlib
import resource
import signal
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

from keras_coda import presets, recipes, training
from keras_coda.training.state import State

PROGRAM = pathlib.Path(__file__).with_name("programs.py")
RECIPE = {
    "name": "tiny",
    "description": "",
    "dataset": "digits",
    # The penalty draws random classes, and Adam has moments: the state has more than weights.
    "model": {"filters": [4, 10], "kernel_sizes": [3, 1], "ranks": [2, 2], "strides": [2, 1], "penalty": 0.5},
    "learning_rate": 0.01,
    "batch_size": 8,
    "epochs": 4,
    "augmentation": {"crop_padding": 1},
}


def run(folder, *killed_at):
    folder.mkdir(exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(RECIPE))
    arguments = [sys.executable, str(PROGRAM), str(folder), *map(str, killed_at)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600)


@pytest.mark.one_backend
def test_a_training_killed_twice_in_the_middle_of_an_epoch_has_the_losses_of_another(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run(whole)
    assert done.returncode == 0, done.stderr
    for epoch in (1, 3):
        assert run(killed, epoch, 7).returncode == -signal.SIGKILL
        assert not (killed / "preset").exists()
        assert (killed / "preset.training" / f"epoch_{epoch:05d}.json").exists()
    done = run(killed)
    assert done.returncode == 0, done.stderr
    assert "Epoch 4/4" in done.stdout
    assert "Epoch 3/4" not in done.stdout
    tables = [pd.read_csv(folder / "preset.logs" / "training.csv") for folder in (whole, killed)]
    assert [*tables[0]["epoch"]] == [1, 2, 3, 4]
    assert np.ptp(tables[0]["loss"]) > 1e-3
    columns = ["epoch", "learning_rate", "loss", "accuracy", "penalty"]
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns], rtol=1e-6)
    for got, want in zip(*(presets.load(folder / "preset").get_weights() for folder in (killed, whole)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    assert {path.name for path in killed.iterdir()} == {"tiny.json", "preset", "preset.logs"}


@pytest.fixture
def model():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def fit(model, state, epochs):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    model.fit(x, x[:, :3], epochs=epochs, initial_epoch=state.epoch, callbacks=[state], verbose=0, shuffle=False)


def kept(directory):
    return sorted(path.name for path in directory.iterdir())


def test_the_last_two_states_are_kept_and_the_last_is_read(model, tmp_path):
    state = State(tmp_path / "state", {"epochs": 4})
    state.steps = 4
    fit(model, state, 3)
    assert kept(tmp_path / "state") == [
        f"epoch_0000{epoch}{suffix}" for epoch in (2, 3) for suffix in (".json", ".npz")
    ]
    other = keras.models.clone_model(model)
    other.compile(keras.optimizers.Adam(0.1), "mse")
    again = State(tmp_path / "state", {"epochs": 4})
    again.restore(other)
    assert (again.epoch, again.steps, again.history) == (3, 4, state.history)
    for got, want in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(other.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(got), keras.ops.convert_to_numpy(want))


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_state_is_refused_and_the_one_before_is_kept(model, tmp_path, suffix, damage):
    state = State(tmp_path / "state", {})
    fit(model, state, 2)
    path = tmp_path / "state" / f"epoch_00002{suffix}"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    else:
        path.unlink()
    if (suffix, damage) == (".json", "gone"):
        # As after a kill before the state was complete.
        assert State(tmp_path / "state", {}).epoch == 1
        return
    with pytest.raises(ValueError, match=r"epoch_00002\.json and epoch_00002\.npz are not.*epoch_00001"):
        State(tmp_path / "state", {})
    for name in ("epoch_00002.json", "epoch_00002.npz"):
        (tmp_path / "state" / name).unlink(missing_ok=True)
    again = State(tmp_path / "state", {})
    assert again.epoch == 1
    again.restore(model)


def test_the_state_of_another_training_is_refused(model, tmp_path):
    fit(model, State(tmp_path / "state", {"seed": 0, "epochs": 4}), 1)
    with pytest.raises(ValueError, match=r"another training.*Received: \{'seed': 1\}, where there is \{'seed': 0\}"):
        State(tmp_path / "state", {"seed": 1, "epochs": 4})


@pytest.mark.one_backend
def test_a_state_is_that_of_the_same_call(model, tmp_path):
    recipe = recipes.Recipe("a", "", "digits", {"filters": (2, 2)}, 0.1, 8, 4)
    plan = {"recipe": dataclasses.asdict(recipe), "images": 3}
    fit(model, State(tmp_path / "state", plan), 1)
    assert State(tmp_path / "state", plan).epoch == 1
    other = {"recipe": {**plan["recipe"], "seed": 1}, "images": 3}
    with pytest.raises(ValueError, match=r"Received: \{'recipe\.seed': 1\}, where there is \{'recipe\.seed': 0\}$"):
        State(tmp_path / "state", other)


@pytest.mark.one_backend
def test_a_state_of_an_older_version_goes_on_by_the_defaults_of_newer_entries(model, tmp_path):
    recipe = dataclasses.asdict(recipes.load("xs_coda_digits"))
    older = {key: value for key, value in recipe.items() if key != "stages"}
    fit(model, State(tmp_path / "state", {"recipe": older}), 1)
    assert State(tmp_path / "state", {"recipe": recipe, "labels": "abc"}).epoch == 1
    stages = [{"scale": 1, "share": 1}]
    with pytest.raises(ValueError, match=r"Received: \{'recipe\.stages': \[\{.*\}, where there is .*: \[\]\}"):
        State(tmp_path / "state", {"recipe": {**recipe, "stages": stages}})


@pytest.mark.one_backend
def test_a_plan_that_is_no_json_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"described by JSON data: .*int64.*Received: \{'ranks': "):
        State(tmp_path / "state", {"ranks": np.int64(2)})
    assert not (tmp_path / "state").exists()


def test_on_a_full_disk_the_last_state_is_kept(model, tmp_path):
    """A limit on the size of files, set in the kernel, instead of a full disk."""
    state = State(tmp_path / "state", {})
    fit(model, state, 1)
    before = {path: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot be written to .*state.*epoch_00001 is whole"):
            fit(model, state, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in (tmp_path / "state").iterdir()} == before
    again = State(tmp_path / "state", {})
    again.restore(model)
    fit(model, again, 2)
    assert again.epoch == 2


@pytest.mark.one_backend
def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), model={**RECIPE["model"]})
    for folder in (tmp_path / "file", pathlib.Path("/proc")):
        with pytest.raises(OSError, match="cannot be written to"):
            training.train(recipe, folder / "preset", verbose=0)
