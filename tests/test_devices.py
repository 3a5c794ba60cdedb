"""Several devices: virtual CPU devices on JAX and TensorFlow, two processes (gloo) on PyTorch."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_coda import backend, cli, data, presets, recipes, training
from keras_coda.data.batches import Batches

PROGRAMS = pathlib.Path(__file__).with_name("on_devices.py")
PROCESSES = 2 if keras.backend.backend() == "torch" else 1
# Equal up to rounding: float32 has a precision of 1.2e-7, and two devices sum in another order than one.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}

TINY = {
    "name": "tiny",
    "description": "",
    "dataset": "digits",
    "model": {"filters": [4, 10], "kernel_sizes": [3, 1], "ranks": [2, 2], "strides": [4, 1], "add_negative": False},
    "freeze": ["dau_1"],
    "learning_rate": 0.01,
    "batch_size": 8,
    "epochs": 3,
    "stages": [{"scale": 0.5, "share": 0.67}, {"scale": 1, "share": 0.33}],
}


def run(out, *programs, launcher=()):
    """The output of programs of `on_devices.py`, which see two devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    arguments = [sys.executable, *launcher, str(PROGRAMS), str(out), *programs]
    done = subprocess.run(
        arguments, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with the files of all programs. On PyTorch torchrun starts the processes of two; one starts its own."""
    out = tmp_path_factory.mktemp("devices")
    (out / "tiny.json").write_text(json.dumps(TINY))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"] if PROCESSES == 2 else []
    (out / "resume.txt").write_text(run(out, "compare", "resume", launcher=torchrun))
    (out / "command.txt").write_text(run(out, "command"))
    return out


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_two_devices_train_as_one_does(out, optimizer):
    """The same weights, loss and accuracy from the same batches, in every process, with a last batch of odd size."""
    for index in range(PROCESSES):
        one, two = (np.load(out / f"{devices}_{optimizer}_{index}.npz") for devices in ("one", "two"))
        assert {*one} == {*two} >= {"loss", "accuracy", "penalty", "weight_0"}
        for name in one:
            np.testing.assert_allclose(two[name], one[name], err_msg=name, **CLOSE)
        assert np.ptp(one["loss"]) > 1e-3  # it has learned something


def test_an_interrupted_training_ends_where_another_ends(out):
    resumed, command = (presets.load(out / name).get_weights() for name in ("resumed", "command"))
    for got, want in zip(resumed, command, strict=True):
        np.testing.assert_allclose(got, want, **CLOSE)
    results = [presets.metadata(out / name)["results"] for name in ("resumed", "command")]
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)


def test_one_process_writes_and_prints(out):
    lines = (out / "resume.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("Epoch ")] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert (out / "command.txt").read_text().count("test_accuracy: ") == 1
    assert [path.name for path in out.glob("saves_*")] == ["saves_0.txt"]
    assert len((out / "saves_0.txt").read_text().splitlines()) == 4  # a state for each epoch, and the preset
    assert not [path for path in out.iterdir() if path.name.endswith(".training")]


def test_a_training_leaves_no_handler_of_signals(out):
    assert "SIGTERM ends the process: True" in (out / "command.txt").read_text()


@pytest.mark.skipif(PROCESSES == 1, reason="the other backends have one process")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such signal")
def test_no_process_outlives_a_killed_training(out):
    assert f"Death of the parent sends: {signal.SIGKILL:d}" in (out / "command.txt").read_text()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_parts_of_a_batch_are_of_one_size_and_keep_its_mean(count):
    labels = np.arange(25)
    parts = [Batches(10 * labels, labels, 12, devices=count, process=(index, count)) for index in range(count)]
    orders = []
    for epoch in (0, 1):
        seen = []
        for part in parts:
            part.shuffle(epoch)
        for number, length in zip(range(len(parts[0])), (12, 12, 1), strict=True):
            shares = [part[number] for part in parts]
            assert {len(array) for share in shares for array in share} == {-(-length // count)}
            images, targets, weights = (np.concatenate(arrays) for arrays in zip(*shares, strict=True))
            np.testing.assert_array_equal(images, 10 * targets)
            chosen = targets[weights > 0]
            assert len(chosen) == length
            np.testing.assert_allclose(np.mean(weights * targets), chosen.mean(), rtol=1e-6)
            seen.extend(chosen)
        assert sorted(seen) == [*labels]
        orders.append(seen)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("devices", [0, -1, 5, 1.0, True, "two"])
def test_devices_that_are_not_there(devices, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "device_count", lambda: 4)
    with pytest.raises(ValueError, match=rf'`devices` must be "all" or 1 to 4.* Received: {devices!r}'):
        training.train(recipes.load("xs_coda_digits"), tmp_path / "preset", devices=devices)
    assert not [*tmp_path.iterdir()]


def test_devices_that_cannot_share_a_batch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(backend, "device_count", lambda: 4)
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), batch_size=10)
    with pytest.raises(ValueError, match=r"batch size must be a multiple of the 4 devices\. Received: 10"):
        training.train(recipe, tmp_path / "preset", devices="all")
    (tmp_path / "odd.json").write_text(json.dumps(dataclasses.asdict(recipe)))
    assert cli.main(["train", str(tmp_path / "odd.json"), "--devices", "3"]) == 2
    assert "batch size must be a multiple of the 3 devices" in capsys.readouterr().err


def test_some_of_several_processes_cannot_train_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "process", lambda: (1, 4))
    monkeypatch.setattr(backend, "device_count", lambda: 4)
    with pytest.raises(ValueError, match=r"`devices` must be all 4 of the 4 processes\. Received: 2"):
        training.train(recipes.load("xs_coda_digits"), tmp_path / "preset", devices=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clipnorm", 1.0),
        ("global_clipnorm", 1.0),
        ("clipvalue", 0.5),
        ("gradient_accumulation_steps", 2),
        ("ema_overwrite_frequency", 3),
        ("dtype", "mixed_float16"),
    ],
)
def test_tensorflow_refuses_what_it_would_do_otherwise_on_several_devices(name, value, tmp_path, monkeypatch):
    """Before the data are loaded."""

    class Loaded(Exception):
        pass

    def load(*_):
        raise Loaded

    monkeypatch.setattr(backend, "device_count", lambda: 2)
    monkeypatch.setattr(data, "load", load)
    optimizer = {"name": "adam", "use_ema": True}
    changes = {"dtype": value} if name == "dtype" else {"optimizer": {**optimizer, name: value}}
    recipe = dataclasses.replace(recipes.load("xs_coda_digits"), **changes)
    for devices in (None, 1, 2):
        refused = devices == 2 and keras.backend.backend() == "tensorflow"
        message = rf"one device, .*Received: {{'{name}': {value!r}}}, devices=2"
        with pytest.raises(ValueError, match=message) if refused else pytest.raises(Loaded):
            training.train(recipe, tmp_path / "preset", devices=devices)
