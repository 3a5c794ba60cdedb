"""Learning rates, step by step."""

import keras
import numpy as np
import pytest

from keras_coda import recipes
from keras_coda.training import fitting
from keras_coda.training.schedule import WarmUp, learning_rate


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def test_steps_are_those_of_the_published_training_of_s():
    schedule = learning_rate(2.5e-4, epochs=200, steps=200 * 4, decay="steps", factor=1 / 1.5, every=30)
    expected = [2.5e-4 / 1.5 ** (step // (30 * 4)) for step in range(800)]
    np.testing.assert_allclose(rates(schedule, 800), expected, rtol=1e-5)


@pytest.mark.parametrize("warm_up_by", ["step", "epoch"])
def test_a_warm_up_grows_with_the_steps_or_the_epochs(warm_up_by):
    arguments = {"decay": "steps", "factor": 0.5, "every": 20, "warm_up": 15, "start": 0.25, "warm_up_by": warm_up_by}
    schedule = learning_rate(1e-3, epochs=60, steps=60 * 3, **arguments)
    epochs = np.arange(180) / 3
    grown = np.floor(epochs) if warm_up_by == "epoch" else epochs
    expected = np.where(epochs < 15, 2.5e-4 + 7.5e-4 * grown / 15, 1e-3 / 2 ** (epochs // 20))
    np.testing.assert_allclose(rates(schedule, 180), expected, rtol=1e-5)


@pytest.mark.parametrize("epochs", [60, 20, 7, 1])
def test_the_warm_up_of_l_is_the_published_one(epochs):
    """The learning rate of each of its 15 epochs, also if 60 epochs are squeezed into fewer."""
    recipe = recipes.load("l_coda_imagenet100")
    steps = epochs * 1979
    schedule = fitting.optimizer(recipe, steps)._learning_rate
    for epoch in range(15):
        first, last = np.ceil(epoch * steps / 60 - 0.5), np.ceil((epoch + 1) * steps / 60 - 0.5) - 1
        for step in (first, (first + last) // 2, last):
            assert float(schedule(int(step))) == pytest.approx(2.5e-4 + 7.5e-4 * epoch / 15, rel=1e-5)
    assert float(schedule(int(np.ceil(steps / 4 - 0.5)))) == pytest.approx(1e-3, rel=1e-5)
    assert float(schedule(steps - 1)) == pytest.approx(2.5e-4, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"warm_up_by": "hour"}, {"warm_up_by": "epoch", "warm_up": 1.5}])
def test_a_warm_up_by_something_else_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`warm_up_by` must be one of \('step', 'epoch'\).*Received"):
        learning_rate(0.1, 4, 40, **{"warm_up": 1, **wrong})


@pytest.mark.parametrize(
    ("wrong", "received"),
    [
        ({"warm_up": -1}, "warm_up=-1, start=0.0"),
        ({"warm_up": float("nan")}, "warm_up=nan"),
        ({"warm_up": 1, "start": 3.0}, "start=3.0"),
        ({"warm_up": 1, "start": -0.1}, "start=-0.1"),
    ],
)
def test_a_warm_up_out_of_range_is_refused(wrong, received):
    with pytest.raises(ValueError, match=rf"`warm_up` must be a number of epochs, and `start` be in .*{received}"):
        learning_rate(0.1, 4, 40, **wrong)


def test_a_linear_decay_ends_at_zero():
    linear = learning_rate(0.1, epochs=5, steps=50, decay="linear")
    np.testing.assert_allclose(rates(linear, 51), 0.1 * (1 - np.arange(51) / 50), atol=1e-7)


def test_a_cosine_ends_at_zero_and_none_does_not_change():
    cosine = learning_rate(0.1, epochs=5, steps=50)
    np.testing.assert_allclose(rates(cosine, 51), 0.05 * (1 + np.cos(np.pi * np.arange(51) / 50)), atol=1e-7)
    np.testing.assert_allclose(rates(learning_rate(0.1, 5, 50, decay="none"), 50), 0.1, rtol=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"decay": "steps", "factor": 0.5, "every": 2, "warm_up": 1}])
def test_a_schedule_is_squeezed_into_fewer_steps(arguments):
    whole, squeezed = learning_rate(0.1, 8, 80, **arguments), learning_rate(0.1, 8, 20, **arguments)
    np.testing.assert_allclose(rates(squeezed, 20), rates(whole, 80)[::4], rtol=1e-5)


@pytest.mark.parametrize("warm_up_by", ["step", "epoch"])
def test_a_warm_up_is_serializable(warm_up_by):
    schedule = learning_rate(0.1, 4, 40, warm_up=2, start=0.1, warm_up_by=warm_up_by)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(again, WarmUp)
    np.testing.assert_array_equal(rates(again, 40), rates(schedule, 40))
