"""Learning rates, step by step."""

import keras
import numpy as np
import pytest

from keras_coda.training.schedule import WarmUp, learning_rate


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def test_steps_are_those_of_the_published_training_of_s():
    schedule = learning_rate(2.5e-4, epochs=200, steps=200 * 4, decay="steps", factor=1 / 1.5, every=30)
    expected = [2.5e-4 / 1.5 ** (step // (30 * 4)) for step in range(800)]
    np.testing.assert_allclose(rates(schedule, 800), expected, rtol=1e-5)


def test_a_warm_up_is_that_of_the_published_training_of_l():
    schedule = learning_rate(1e-3, epochs=60, steps=60 * 3, decay="steps", factor=0.5, every=20, warm_up=15, start=0.25)
    epochs = np.arange(180) / 3
    expected = np.where(epochs < 15, 2.5e-4 + 7.5e-4 * epochs / 15, 1e-3 / 2 ** (epochs // 20))
    np.testing.assert_allclose(rates(schedule, 180), expected, rtol=1e-5)


def test_a_cosine_ends_at_zero_and_none_does_not_change():
    cosine = learning_rate(0.1, epochs=5, steps=50)
    np.testing.assert_allclose(rates(cosine, 51), 0.05 * (1 + np.cos(np.pi * np.arange(51) / 50)), atol=1e-7)
    np.testing.assert_allclose(rates(learning_rate(0.1, 5, 50, decay="none"), 50), 0.1, rtol=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"decay": "steps", "factor": 0.5, "every": 2, "warm_up": 1}])
def test_a_schedule_is_squeezed_into_fewer_steps(arguments):
    whole, squeezed = learning_rate(0.1, 8, 80, **arguments), learning_rate(0.1, 8, 20, **arguments)
    np.testing.assert_allclose(rates(squeezed, 20), rates(whole, 80)[::4], rtol=1e-5)


def test_a_warm_up_is_serializable():
    schedule = learning_rate(0.1, 4, 40, warm_up=1, start=0.1)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(again, WarmUp)
    np.testing.assert_array_equal(rates(again, 40), rates(schedule, 40))
