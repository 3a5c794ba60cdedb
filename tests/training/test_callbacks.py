"""Callbacks that read the loss about once a second."""

import keras
import numpy as np
import pytest

from keras_coda import backend
from keras_coda.training import callback_list
from keras_coda.training.callback_list import Callbacks
from keras_coda.training.stop_on_nan import StopOnNaN


class Loss:
    """A value on a device. Each reading is counted, and makes the clock catch up with the device."""

    def __init__(self, value, device):
        self.value, self.device = value, device

    def __float__(self):
        self.device.readings += 1
        self.device.now = self.device.busy_until
        return self.value


class Device:
    """A device that takes some seconds for a step, while the host continues at once."""

    def __init__(self, monkeypatch, seconds):
        self.seconds, self.now, self.busy_until, self.readings = seconds, 0.0, 0.0, 0
        monkeypatch.setattr(callback_list, "time", self)

    def monotonic(self):
        return self.now

    def epoch(self, callbacks, steps, losses=None):
        """The largest lead of the host, in seconds."""
        ahead = 0.0
        callbacks.on_epoch_begin(0)
        for step in range(steps):
            self.busy_until += self.seconds
            ahead = max(ahead, self.busy_until - self.now)
            callbacks.on_train_batch_end(step, {"loss": Loss(losses[step] if losses else 1.0, self)})
            if callbacks.model.stop_training:
                break
        return ahead


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps, self.losses = [], {}

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(batch)
        if logs:
            self.losses[batch] = logs["loss"]


@pytest.fixture
def model():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.stop_training = False
    return model


def listed(callbacks, model, steps):
    return Callbacks(callbacks, model, verbose=0, epochs=1, steps=steps)


def test_logs_are_read_about_once_a_second(model, monkeypatch):
    device, seen = Device(monkeypatch, 0.01), Seen()
    ahead = device.epoch(listed([seen], model, 1000), 1000)
    assert seen.steps == [*range(1000)]
    assert 10 <= device.readings <= 20  # 10 seconds; the first steps are read more often
    assert ahead <= 1.01
    assert seen.losses[0] == seen.losses[999] == 1.0


def test_logs_of_long_steps_are_read_each_time(model, monkeypatch):
    device, seen = Device(monkeypatch, 2.0), Seen()
    device.epoch(listed([seen], model, 8), 8)
    assert [*seen.losses] == [*range(8)]


def test_a_fast_first_step_does_not_let_the_host_run_ahead(model, monkeypatch):
    device = Device(monkeypatch, 0.001)
    callbacks = listed([Seen()], model, 100)
    device.epoch(callbacks, 1)
    device.seconds = 1.0
    assert device.epoch(callbacks, 100) <= 2


def test_weights_that_are_not_finite_end_a_training_after_a_finite_loss(model):
    model.build((None, 2))
    callback = StopOnNaN()
    callback.set_model(model)
    callback.on_epoch_end(0, {"loss": 1.0})
    assert callback.finite
    model.set_weights([np.array([[1.0], [np.nan]]), np.zeros(1)])
    callback.on_epoch_end(1, {"loss": 1.0})
    assert not callback.finite
    assert model.stop_training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite_ends_one_process_when_it_is_read_and_several_with_the_epoch(
    model, monkeypatch, value, processes
):
    monkeypatch.setattr(backend, "process", lambda: (0, processes))
    device, seen = Device(monkeypatch, 0.01), Seen()
    device.epoch(listed([StopOnNaN(), seen], model, 1000), 1000, [1.0] * 500 + [value] * 500)
    assert model.stop_training
    assert (500 <= seen.steps[-1] < 600) if processes == 1 else seen.steps[-1] == 999
