"""What is measured before a training with a time limit."""

import numpy as np
import pytest

from keras_coda.training import time_limit

pytestmark = pytest.mark.one_backend


class Clock:
    """A clock that only the steps of a model advance, each by its own time."""

    def __init__(self, seconds):
        self.now, self.seconds, self.sizes = 0.0, iter(seconds), []

    def monotonic(self):
        return self.now

    def train_on_batch(self, images, labels, sample_weight, return_dict):
        self.now += next(self.seconds)
        self.sizes.append(len(images))
        return {"loss": 0.0}


@pytest.mark.parametrize(
    ("seconds", "compilation"),
    [
        ([30.0, 2.0, 2.0, 2.0, 2.0], 28.0),
        ([30.0, 2.0, 20.0, 2.0, 2.0], 46.0),  # the smaller last batch is compiled once more
        ([2.0, 2.0, 2.0, 2.0, 2.0], 0.0),
        ([1.0, 2.0, 2.0, 2.0, 2.0], 0.0),
    ],
)
def test_a_step_is_timed_without_compilation(monkeypatch, seconds, compilation):
    clock = Clock(seconds)
    monkeypatch.setattr(time_limit, "time", clock)
    batches = [(np.zeros((size, 1)), np.zeros(size), np.ones(size)) for size in (4, 4, 3)]
    assert time_limit.seconds_of_steps(clock, batches) == (pytest.approx(compilation), pytest.approx(2.0))
    assert clock.sizes == [4, 4, 3, 4, 4]


@pytest.mark.parametrize(("images", "seconds"), [(40, 5.0), (10, 2.0)])
def test_a_prediction_is_timed_without_compilation_on_a_few_batches(monkeypatch, images, seconds):
    clock = Clock([30.0, 2.0])
    clock.predict = lambda images, batch_size, verbose: clock.train_on_batch(images, None, None, None)
    monkeypatch.setattr(time_limit, "time", clock)
    assert time_limit.seconds_of_prediction(clock, np.zeros((images, 1)), batch_size=4) == pytest.approx(seconds)
    assert clock.sizes == [min(images, 16)] * 2
