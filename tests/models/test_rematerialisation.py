"""Rematerialisation by Keras' own `RematScope`: the same training, whatever is computed again."""

import keras
import numpy as np
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

import keras_coda


def trained(model, images, labels):
    model.compile(keras.optimizers.SGD(0.1), keras_coda.OneVsRestCrossentropy())
    losses = [float(model.train_on_batch(images, labels)) for _ in range(3)]
    return losses, model.get_weights()


def test_training_is_the_same(rng):
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
