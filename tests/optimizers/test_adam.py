"""Adam against algorithm 1 of Kingma & Ba (2015) in float64, and against PyTorch's."""

import keras
import numpy as np
import pytest
import reference
from on_backend import double_precision

from keras_coda import CoDANet, optimizers, recipes
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.training import fitting

SETTINGS = [
    {},
    {"epsilon": 1e-3, "beta_1": 0.0},
    {"beta_1": 0.5, "beta_2": 0.9, "amsgrad": True},
]


def adam(start, gradients, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, amsgrad=False):
    """The parameters after each step, `(steps, ...)`: algorithm 1 of Kingma & Ba, in float64.

    AMSGrad's maximum is of the second moment before its correction, as PyTorch and Keras have it.
    """
    theta, m, v, largest, found = np.asarray(start, "float64"), 0.0, 0.0, 0.0, []
    for t, gradient in enumerate(np.asarray(gradients, "float64"), start=1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        largest = np.maximum(largest, v)
        m_hat = m / (1 - beta_1**t)
        v_hat = (largest if amsgrad else v) / (1 - beta_2**t)
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + epsilon)
        found.append(theta)
    return np.stack(found)


@pytest.fixture
def gradients(rng):
    """Thirty steps for 11 parameters, of 1e-9 to 10."""
    return rng.normal(size=(30, 11)) * 10.0 ** np.arange(-9, 2)


def applied(optimizer, start, gradients):
    """The parameters after each step of a Keras optimizer."""
    variable = keras.Variable(np.zeros_like(start), dtype=keras.backend.standardize_dtype(gradients.dtype))
    variable.assign(start)
    found = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        found.append(keras.ops.convert_to_numpy(variable))
    return np.stack(found)


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_algorithm_1(gradients, settings):
    start = np.zeros(11)
    got = applied(optimizers.Adam(1e-3, **settings), start.astype("float32"), gradients.astype("float32"))
    want = adam(start, gradients, **settings)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-9)
    # Keras' own, with the same epsilon, is not.
    other = applied(keras.optimizers.Adam(1e-3, **{"epsilon": 1e-8, **settings}), start, gradients.astype("float32"))
    assert np.abs(other - want).max() > 0.01 * np.abs(want).max()


def test_in_double_precision(gradients):
    with double_precision():
        got = applied(optimizers.Adam(2.0**-10), np.zeros(11), gradients)
    np.testing.assert_allclose(got, adam(np.zeros(11), gradients, rate=2.0**-10), rtol=1e-6)


def test_gradients_in_float16_are_not_squared_there():
    """Their squares would be 0, and the step a thousand times as long."""
    gradient, variable = np.full(3, 1e-5, "float16"), keras.Variable(np.zeros(3), dtype="float32")
    optimizers.Adam(1e-3).apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), adam(np.zeros(3), [gradient])[0], rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch is there on its backend alone.")
@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_that_of_pytorch(gradients, settings):
    import torch

    parameter = torch.zeros(11, requires_grad=True)
    names = {"epsilon": "eps", "amsgrad": "amsgrad"}
    arguments = {names[key]: value for key, value in settings.items() if key in names}
    betas = (settings.get("beta_1", 0.9), settings.get("beta_2", 0.999))
    theirs = torch.optim.Adam([parameter], 1e-3, betas, **arguments)
    want = []
    for gradient in gradients.astype("float32"):
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        want.append(parameter.detach().numpy().copy())
    start = np.zeros(11, "float32")
    got = applied(optimizers.Adam(1e-3, **settings), start, gradients.astype("float32"))
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-9)


def test_the_recipes_training_is_that_of_algorithm_1(rng):
    """Eight steps of `fit` with the optimizer of the recipe of S, at its T, against the same gradients' in float64."""
    recipe = recipes.load("s_coda_cifar10")
    model = CoDANet([4, 4, 10], [3, 3, 1], [4, 4, 4], [2, 2, 1], 1000.0, image_shape=(8, 8, 3))
    images, labels = rng.random((16 * 8, 8, 8, 3)).astype("float32"), rng.integers(0, 10, 16 * 8)
    optimizer = fitting.optimizer(recipe, 200 * 3125)
    noted, apply = [], optimizer.apply

    def note(gradients, *arguments):
        noted.append([np.array(keras.ops.convert_to_numpy(gradient)) for gradient in gradients])
        return apply(gradients, *arguments)

    optimizer.apply = note
    # Not compiled, so that gradients are there to be noted.
    model.compile(optimizer, OneVsRestCrossentropy(), run_eagerly=True)
    start = [np.array(weights) for weights in model.get_weights()]
    model.fit(images, labels, batch_size=16, shuffle=False, verbose=0)
    assert len(noted) == 8
    small = 0
    for number, (first, got) in enumerate(zip(start, model.get_weights(), strict=True)):
        gradients = np.stack([step[number] for step in noted])
        want = adam(first, gradients, rate=2.5e-4)[-1]
        assert reference.relative_error(got - first, want - first) < 1e-4
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
        small += np.sum(np.abs(gradients) < 1e-6)
    assert small > 0.1 * 8 * model.count_params()


def test_a_round_trip():
    optimizer = optimizers.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6, amsgrad=True, weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is optimizers.Adam
    assert again.get_config() == pytest.approx(optimizer.get_config())


def test_keras_finds_it_by_its_registered_name():
    found = keras.optimizers.get("keras_coda>Adam")
    assert type(found) is optimizers.Adam
    assert (found.beta_1, found.beta_2, found.epsilon, found.amsgrad) == (0.9, 0.999, 1e-8, False)
