"""Rematerialisation by Keras' own `RematScope`: the same training, whatever is computed again."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops
from on_backend import bytes_alive
from reference import relative_error
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

import keras_coda
from keras_coda.backend import cpu_kernels, pull_back
from keras_coda.contractions import blocked


@pytest.fixture(params=["direct", "blocked", "blocked, K^T x kept"])
def form(request, monkeypatch):
    form, *kept = request.param.split(", ")
    if kept:
        monkeypatch.setattr(cpu_kernels or blocked, "KEPT_FROM", 0)
    keras_coda.set_contraction(form)
    yield form
    keras_coda.set_contraction("auto")


def make_layer(drawn, rematerialised):
    scope = keras.RematScope("list_of_layers", layer_names=["dau"]) if rematerialised else contextlib.nullcontext()
    with scope:
        layer = keras_coda.DAUConv2D(
            4, 3, 6, a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn, name="dau"
        )
    layer.build((None, 16, 16, 2))
    return layer


def test_only_the_inputs_are_kept(rng, drawn, form):
    """Not the patches, the kernels or K^T x, which are all larger than the outputs."""
    images = ops.convert_to_tensor(rng.standard_normal((4, 16, 16, 2)).astype("float32"))
    kept = []
    for rematerialised in (False, True):
        layer = make_layer(drawn, rematerialised)
        before = bytes_alive()
        outputs, _, pull = pull_back(lambda x, layer=layer: (layer(x), ()), images)
        kept.append(bytes_alive() - before)
        del outputs, pull
    # Inputs, outputs (12544 bytes), and on PyTorch the state of the random numbers.
    assert kept[1] < 30_000 < 150_000 < kept[0], kept


def test_gradients_are_the_same(rng, drawn, form):
    """Several of them, for each of which the layer is computed again."""
    images = ops.convert_to_tensor(rng.standard_normal((2, 16, 16, 2)).astype("float32"))
    cotangents = ops.convert_to_tensor(rng.standard_normal((2, 2, 14, 14, 4)).astype("float32"))
    plain, again = make_layer(drawn, False), make_layer(drawn, True)
    again.set_weights(plain.get_weights())
    want, got = (
        ops.convert_to_numpy(pull_back(lambda x, layer=layer: (layer(x), ()), images)[2](cotangents))
        for layer in (plain, again)
    )
    assert relative_error(got, want) < 1e-6


def trained(model, images, labels):
    model.compile(keras.optimizers.SGD(0.1), keras_coda.OneVsRestCrossentropy())
    losses = [float(model.train_on_batch(images, labels)) for _ in range(3)]
    return losses, model.get_weights()


def test_training_is_the_same(rng, form):
    images = rng.random((4, *IMAGE_SHAPE)).astype("float32")
    labels = rng.integers(0, CLASSES, 4)
    plain = small_coda_net()
    initial = plain.get_weights()
    losses, weights = trained(plain, images, labels)
    with keras.RematScope("list_of_layers", layer_names=["dau_1", "dau_2", "dau_3"]):
        model = small_coda_net()
    model.set_weights(initial)
    got_losses, got_weights = trained(model, images, labels)
    assert losses[0] != losses[-1]
    np.testing.assert_allclose(got_losses, losses, rtol=1e-5)
    for got, want in zip(got_weights, weights, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
