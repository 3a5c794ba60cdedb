"""Occlusion: against a loop over patches, Captum, and what must hold of a linear model."""

import itertools

import keras
import numpy as np
import pytest
import tiny_models

from keras_coda.attributions import Contributions, Occlusion

TARGETS = np.array([[1, 3], [0, 0]])


def one_by_one(classifier, source, target, patch, stride, baseline=0.0):
    """The mean drop over the patches that cover each pixel, of one source of channels last."""
    height, width, _ = source.shape
    baseline = np.broadcast_to(baseline, source.shape)

    def slices(size):
        starts = [start for start in range(0, size, stride) if start == 0 or start - stride + patch < size]
        return [slice(start, start + patch) for start in starts]

    patches = list(itertools.product(slices(height), slices(width)))
    variants = np.stack([source] * (len(patches) + 1))
    for variant, where in zip(variants[1:], patches, strict=True):
        variant[where] = baseline[where]
    output, *occluded = classifier.outputs(variants)[:, target]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for value, where in zip(occluded, patches, strict=True):
        total[where] += output - value
        count[where] += 1
    return total / count


@pytest.mark.parametrize(
    ("make", "patch", "stride", "batch_size"),
    [
        (tiny_models.cnn, 5, 2, 7),
        (tiny_models.cnn, 3, 3, 32),
        (tiny_models.cnn, 10, 4, 1),
        (tiny_models.coda_net, 4, 3, 16),
    ],
)
def test_is_the_mean_drop_over_the_patches_that_cover_a_pixel(make, patch, stride, batch_size):
    model = make()
    method = Occlusion(model, patch=patch, stride=stride, batch_size=batch_size)
    images = tiny_models.images()
    got = method(images, TARGETS)
    source = method.classifier.source(images)
    for i, k in np.ndindex(*TARGETS.shape):
        want = one_by_one(method.classifier, source[i], TARGETS[i, k], patch, stride)
        np.testing.assert_allclose(got[i, k], want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("baseline", [0.5, np.array([0.2, 0.4, 0.6])])
def test_baselines(baseline):
    model, images = tiny_models.cnn(), tiny_models.images()
    method = Occlusion(model, patch=4, stride=3, baseline=baseline)
    want = one_by_one(method.classifier, images[1], 2, 4, 3, baseline)
    np.testing.assert_allclose(method(images, 2)[1], want, atol=1e-5 * np.abs(want).max())


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Captum explains models of PyTorch")
@pytest.mark.parametrize(("patch", "stride"), [(5, 2), (9, 2), (4, 3), (10, 10)])
@pytest.mark.parametrize("make", [tiny_models.cnn, tiny_models.coda_net])
def test_equals_captum(make, patch, stride):
    captum_attr = pytest.importorskip("captum.attr")
    import torch

    method = Occlusion(make(), patch=patch, stride=stride)
    images = tiny_models.images()
    source = torch.tensor(method.classifier.source(images))
    channels = source.shape[-1]
    for column in TARGETS.T:
        want = captum_attr.Occlusion(lambda x: method.classifier.network(x, training=False)).attribute(
            source,
            target=torch.tensor(column),
            sliding_window_shapes=(patch, patch, channels),
            strides=(stride, stride, channels),
        )
        assert torch.equal(want[..., :1].expand_as(want), want)
        want = want[..., 0].detach().numpy()
        np.testing.assert_allclose(method(images, column), want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_on_a_linear_model_a_patch_counts_what_its_pixels_contribute(data_format):
    model, images = tiny_models.linear(data_format), tiny_models.images()
    if data_format == "channels_first":
        images = np.moveaxis(images, -1, 1)
    contributions = Contributions(model).maps(images, 3)
    # The patch of 6 at stride 6 is clipped from 10 pixels to 4.
    sums = np.stack([contributions[:, :6, :6], contributions[:, 6:, :6]]).sum((2, 3))
    clipped = np.stack([contributions[:, :6, 6:], contributions[:, 6:, 6:]]).sum((2, 3))
    got = Occlusion(model, patch=6, stride=6)(images, 3)
    for block in range(2):
        rows = slice(6 * block, 6 * block + 6)
        for columns, value in ((slice(0, 6), sums[block]), (slice(6, 10), clipped[block])):
            np.testing.assert_allclose(
                got[:, rows, columns], np.broadcast_to(value[:, None, None], got[:, rows, columns].shape), atol=1e-5
            )
    # At stride 1 and patch 1 they are the same.
    np.testing.assert_allclose(Occlusion(model, patch=1, stride=1)(images, 3), contributions, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 11}, "`patch` must fit into the images. Received: patch=11 for 10 pixels"),
        ({"patch": 0}, "`patch` must be a positive integer. Received: 0"),
        ({"stride": -1}, "`stride` must be a positive integer. Received: -1"),
        ({"patch": 2.5}, "`patch` must be a positive integer. Received: 2.5"),
        ({"patch": 2, "stride": 3}, "`stride` must be at most `patch`"),
        ({"batch_size": 0}, "`batch_size` must be positive. Received: 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Occlusion(tiny_models.linear(), **settings)(tiny_models.images(), 0)
