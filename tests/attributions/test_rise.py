"""RISE: masks that are what the paper describes, and the formula evaluated in NumPy with the same masks."""

import keras
import numpy as np
import pytest
import tiny_models
from skimage import transform

from keras_coda.attributions import RISE

TARGETS = np.array([[1, 3], [0, 2]])


def all_masks(method):
    return method.draw(*tiny_models.IMAGE_SHAPE[:2])(np.arange(method.masks))


def test_masks_are_shifted_crops_of_enlarged_binary_grids():
    method = RISE(tiny_models.linear(), masks=25, cells=3, probability=0.4)
    masks = all_masks(method)
    assert masks.shape == (25, 12, 10)
    # A cell has 4 pixels; all grids are enlarged to (3 + 1) * 4 pixels.
    basis = [transform.resize(np.eye(9)[i].reshape(3, 3), (16, 16), order=1, anti_aliasing=False) for i in range(9)]
    shifts = set()
    for mask in masks:
        fits = []
        for row, column in np.ndindex(4, 4):
            crops = np.stack([enlarged[row : row + 12, column : column + 10].ravel() for enlarged in basis], axis=-1)
            grid, *_ = np.linalg.lstsq(crops, mask.ravel(), rcond=None)
            if np.abs(crops @ grid - mask.ravel()).max() < 1e-5:
                np.testing.assert_allclose(grid, np.round(grid), atol=1e-4)
                assert set(np.round(np.abs(grid))) <= {0.0, 1.0}
                fits.append((row, column))
        assert fits
        shifts.update(fits if len(fits) == 1 else [])
    assert len(shifts) > 5


def test_masks_keep_a_pixel_with_the_given_probability():
    masks = all_masks(RISE(tiny_models.linear(), masks=4000, probability=0.1))
    assert masks.min() == 0
    assert masks.max() == 1
    # A mask's pixels have a standard deviation of at most 0.3.
    np.testing.assert_allclose(masks.mean(0), 0.1, atol=5 * 0.3 / np.sqrt(4000))


@pytest.mark.one_backend
def test_the_activation_follows_the_model():
    model = keras.Sequential([keras.Input(tiny_models.IMAGE_SHAPE), *tiny_models.linear().layers])
    model.add(keras.layers.Activation("softmax"))
    method = RISE(model, masks=2)
    assert method.activation == "linear"
    model.layers[-1].activation = keras.activations.linear
    method(tiny_models.images())
    assert method.activation == "softmax"


@pytest.mark.parametrize("make", [tiny_models.cnn, tiny_models.coda_net])
def test_is_the_formula_of_the_paper(make):
    method = RISE(make(), masks=70, cells=4, probability=0.3, batch_size=16)
    images, classifier = tiny_models.images(), method.classifier
    masks = all_masks(method).astype("float64")
    got = method(images, TARGETS)
    for i, source in enumerate(classifier.source(images)):
        masked = (source * masks[..., np.newaxis]).astype("float32")
        logits = classifier.outputs(masked).astype("float64")
        scores = 1 / (1 + np.exp(-logits))
        if make is tiny_models.cnn:
            scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for k, target in enumerate(TARGETS[i]):
            want = np.einsum("m,mhw->hw", scores[:, target], masks) / (70 * 0.3)
            np.testing.assert_allclose(got[i, k], want, rtol=1e-5)


def test_on_a_linear_score_it_is_the_second_moment_of_the_masks_times_the_contributions():
    model, images = tiny_models.linear(), tiny_models.images()
    method = RISE(model, masks=1200, cells=4, probability=0.5, activation="linear")
    kernel, bias = model.get_weights()
    masks = all_masks(method).reshape(1200, -1).astype("float64")
    contributions = (images.reshape(2, -1) * kernel[:, 1]).reshape(2, -1, 3).sum(-1)
    want = (contributions @ (masks.T @ masks) + bias[1] * masks.sum(0)) / (1200 * 0.5)
    np.testing.assert_allclose(method(images, 1).reshape(2, -1), want, atol=1e-4 * np.abs(want).max())


def test_where_everything_is_kept_the_map_is_the_probability():
    method = RISE(tiny_models.cnn(), masks=3, probability=1.0)
    images = tiny_models.images()
    probabilities = method.classifier.probabilities(method.classifier.outputs(images))
    want = np.broadcast_to(probabilities.max(-1)[:, None, None], (2, 12, 10))
    np.testing.assert_allclose(method(images), want, rtol=1e-5)


def test_the_seed_decides_and_the_other_images_do_not():
    model, images = tiny_models.cnn(), tiny_models.images()

    def maps(seed, images):
        return RISE(model, masks=20, probability=0.5, seed=seed)(images, 0)

    np.testing.assert_allclose(maps(1, images)[1:], maps(1, images[1:]), rtol=1e-5)
    assert np.abs(maps(1, images) - maps(2, images)).max() > 1e-2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": 0}, "`masks` must be a positive integer. Received: 0"),
        ({"cells": 2.0}, "`cells` must be a positive integer. Received: 2.0"),
        ({"probability": 0.0}, r"`probability` must be in \(0, 1\]. Received: 0.0"),
        ({"probability": 1.5}, r"`probability` must be in \(0, 1\]. Received: 1.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        RISE(tiny_models.linear(), **settings)
