"""Trainings that begin with smaller images."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from small_models import CLASSES, IMAGE_SHAPE, TEMPERATURE, small_coda_net

from keras_coda import OneVsRestCrossentropy
from keras_coda.training.resizing import ResizingCoDANet, SetScale, Stage, resized, stages_of

STAGES = [{"scale": 0.5, "share": 0.5}, {"scale": 0.75, "share": 0.3}, {"scale": 1, "share": 0.2}]


@pytest.mark.one_backend
@given(epochs=st.integers(1, 300))
def test_stages_share_the_epochs(epochs):
    found = [*stages_of(STAGES, epochs)]
    assert found[0].first == 0
    assert found[-1].end == epochs
    assert found[-1].scale == 1
    assert all(stage.first < stage.end for stage in found)
    assert all(before.end == after.first for before, after in itertools.pairwise(found))
    count = {stage.scale: stage.end - stage.first for stage in found}
    for stage in STAGES:
        assert count.get(stage["scale"], 0) == pytest.approx(epochs * stage["share"], abs=1)
    assert [*stages_of([], epochs)] == [(0, epochs, 1)]


@pytest.mark.parametrize("size", [(32, 25), (48, 40), (64, 50), (1, 7)])
def test_pixels_are_means_over_areas(size):
    images = np.random.default_rng(0).random((2, 64, 50, 3))
    expected = images
    for axis, count in enumerate(size, start=1):
        # Each pixel as `count` equal ones, of which a new pixel has as many as there were pixels.
        fine = np.repeat(np.moveaxis(expected, axis, 0), count, axis=0)
        expected = np.moveaxis(fine.reshape(count, -1, *fine.shape[1:]).mean(1), 0, axis)
    found = ops.convert_to_numpy(resized(ops.convert_to_tensor(images, "float32"), *size))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _trained(model, images, labels):
    """The loss and the weights after a step of gradient descent on weighted images."""
    model.compile(keras.optimizers.SGD(0.5), OneVsRestCrossentropy())
    logs = model.train_on_batch(images, labels, np.arange(len(labels), dtype="float32"), return_dict=True)
    return float(logs["loss"]), model.get_weights()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_step_is_that_of_a_network_for_small_images(dtype):
    """Of one with T in proportion to the pixels, on images that Pillow made smaller, and with the penalty (eq. 10)."""
    height, width, _ = IMAGE_SHAPE
    images = np.random.default_rng(0).random((6, 2 * height, 2 * width, 3), dtype="float32")
    if dtype == "uint8":
        images = np.rint(255 * images).astype(dtype)
    floats = images / np.float32(255 if dtype == "uint8" else 1)
    small = floats.reshape(6, height, 2, width, 2, 3).mean((2, 4))
    labels = np.arange(6) % CLASSES
    arguments = {"penalty": 0.5, "penalized_classes": "all", "image_shape": (None, None, 3)}
    of_small = small_coda_net(**arguments)
    model = ResizingCoDANet.from_config({**of_small.get_config(), "temperature": 4 * TEMPERATURE})
    model.set_weights(of_small.get_weights())
    model.scale = 0.5
    loss, weights = _trained(model, images, labels)
    expected_loss, expected = _trained(of_small, small, labels)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def resizing():
    return ResizingCoDANet.from_config(small_coda_net(image_shape=(None, None, 3)).get_config())


def test_each_stage_has_its_scale():
    model = resizing()
    model.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    callback, scales = SetScale([Stage(0, 2, 0.5), Stage(2, 3, 0.75), Stage(3, 5, 1)]), []
    callback.set_model(model)
    for epoch in [*range(5), 2]:  # the last as after a resume
        callback.on_epoch_begin(epoch)
        scales.append(model.scale)
    assert scales == [0.5, 0.5, 0.75, 1, 1, 0.75]


def test_sizes_are_rounded():
    model = resizing()
    model.scale = 0.5
    for size, expected in (((7, 8), (4, 4)), ((1, 5), (1, 2))):
        assert tuple(model._small(np.zeros((1, *size, 3), "float32")).shape[1:3]) == expected


def test_apart_from_training_nothing_is_resized():
    plain = small_coda_net()
    model = ResizingCoDANet.from_config(plain.get_config())
    model.set_weights(plain.get_weights())
    model.scale = 0.5
    images = np.random.default_rng(0).random((2, *IMAGE_SHAPE), dtype="float32")
    np.testing.assert_array_equal(model.predict(images, verbose=0), plain.predict(images, verbose=0))
