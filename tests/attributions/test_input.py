"""Attributions for the image itself, of models that encode it: 0 is black then."""

import keras
import numpy as np
import pytest
import reference
import tiny_models
from small_models import LOGIT_BIAS, TEMPERATURE, small_coda_net

from keras_coda import attributions, metrics
from keras_coda.attributions import (
    LIME,
    RISE,
    Classifier,
    DeepLIFT,
    GradCAM,
    Gradient,
    GuidedBackpropagation,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
)

TARGETS = np.array([[1, 3], [0, 2]])


def logits(model, images):
    """By the equations, in float64."""
    return reference.coda_net(images, reference.layers_of(model))[0] / TEMPERATURE + LOGIT_BIAS


# Of the 360 numbers of an image, those that differences are taken in.
SOME = np.arange(0, 360, 17)


def some(attributions):
    """`(N, K, some)` of attributions `(N, K, H, W, C)`."""
    return attributions.reshape(*attributions.shape[:2], -1)[..., SOME]


def differences(model, images, targets):
    """Central differences of the logits in some of the numbers, `(N, K, some)`."""
    step, found = 1e-5, []
    for image, of_image in zip(images.astype("float64"), targets, strict=True):
        shifts = step * np.eye(image.size)[SOME].reshape(-1, *image.shape)
        slopes = (logits(model, image + shifts) - logits(model, image - shifts)) / (2 * step)
        found.append(slopes[:, of_image].T)
    return np.stack(found)


@pytest.fixture(scope="module")
def model():
    return tiny_models.coda_net()


@pytest.fixture(scope="module")
def slopes(model):
    return differences(model, tiny_models.images(), TARGETS)


def close(got, want):
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_a_classifier_starts_at_the_image(model):
    images = tiny_models.images()
    classifier = Classifier(model, input="image")
    np.testing.assert_array_equal(classifier.source(images), images)
    integers = (255 * images).astype("uint8")
    np.testing.assert_array_equal(classifier.source(integers), integers.astype("float32") / 255)
    close(classifier.outputs(images), logits(model, images))
    assert classifier.activation is keras.activations.sigmoid
    with pytest.raises(ValueError, match=r"floats in \[0, 1\].*Received"):
        classifier.source(3 * images)
    with pytest.raises(ValueError, match=r"`input` must be one of \('encoded', 'image'\). Received: 'raw'"):
        Gradient(model, input="raw")


def test_gradients(model, slopes):
    images = tiny_models.images()
    got = InputXGradient(model, input="image")(images, TARGETS)
    close(some(got), slopes * some(images[:, None]))
    # Which those for the encoded image are not, summed over channels.
    encoded = InputXGradient(model).maps(images, TARGETS)
    assert np.abs(encoded - got.sum(-1)).max() > 0.1 * np.abs(encoded).max()


@pytest.mark.one_backend
def test_others_that_are_gradients_here(model, slopes):
    images = tiny_models.images()
    close(some(Gradient(model, input="image")(images, TARGETS)), slopes)
    close(some(Saliency(model, input="image")(images, TARGETS)), np.abs(slopes))
    close(some(GuidedBackpropagation(model, input="image")(images, TARGETS)), slopes)
    close(some(DeepLIFT(model, input="image")(images, TARGETS)), slopes * some(images[:, None]))


def test_integrated_gradients_start_from_black(model):
    images = tiny_models.images()
    nodes, weights = np.polynomial.legendre.leggauss(3)
    points = [differences(model, images * (node + 1) / 2, TARGETS) for node in nodes]
    want = np.tensordot(weights / 2, points, 1) * some(images[:, None])
    close(some(IntegratedGradients(model, steps=3, input="image")(images, TARGETS)), want)


@pytest.mark.one_backend
@pytest.mark.parametrize("method", [IntegratedGradients, DeepLIFT, Occlusion])
def test_baselines_are_in_the_range_of_encoded_images(model, method):
    """Integers are not divided by 255, as those of images are: 1 is white."""
    images, baseline = tiny_models.images(), np.full(tiny_models.IMAGE_SHAPE, 128, "uint8")
    for name in ("image", "encoded"):
        with pytest.raises(ValueError, match=r"`baseline` must be in \[0, 1\].*Received: values from 128 to 128"):
            method(model, baseline=128 if name == "encoded" else baseline, input=name)(images)
    want = method(model, baseline=1.0, input="image")(images)
    np.testing.assert_array_equal(method(model, baseline=1, input="image")(images), want)


def test_smooth_grad_may_leave_the_range(model):
    """Noise of five times the range, which the encoding alone would refuse."""
    images = tiny_models.images()
    got = SmoothGrad(model, samples=2, noise=5.0, input="image")(images, TARGETS)
    noise = np.random.default_rng(0).standard_normal((2, *tiny_models.IMAGE_SHAPE), "float32")
    deviation = 5.0 * np.ptp(images, axis=(1, 2, 3), keepdims=True)
    want = np.mean([differences(model, images + deviation * sample, TARGETS) for sample in noise], axis=0)
    close(some(got), want)


@pytest.mark.parametrize("patch", [4, 8])
def test_occluded_pixels_are_black(model, patch):
    images = tiny_models.images()
    total, count = np.zeros((2, 2, 12, 10)), np.zeros((12, 10))
    for top in range(0, 13 - patch, 2):
        for left in range(0, 11 - patch, 2):
            where = slice(top, top + patch), slice(left, left + patch)
            covered = images.copy()
            covered[:, *where] = 0
            drops = np.take_along_axis(logits(model, images) - logits(model, covered), TARGETS, axis=-1)
            total[:, :, *where] += drops[:, :, None, None]
            count[where] += 1
    close(Occlusion(model, patch=patch, stride=2, input="image")(images, TARGETS), total / count)


def test_masked_pixels_of_rise_are_black(model):
    images = tiny_models.images()
    method = RISE(model, masks=7, cells=3, probability=0.5, input="image")
    masks = method.draw(12, 10)(np.arange(7)).astype("float64")
    want = 0
    for mask in masks:
        probabilities = 1 / (1 + np.exp(-logits(model, images * mask[..., None])))
        want = want + np.take_along_axis(probabilities, TARGETS, axis=-1)[:, :, None, None] * mask
    close(method(images, TARGETS), want / (7 * 0.5))


def test_lime_and_grad_cam_take_it(model):
    """Mean colours have mean encodings, and the last layer does not know where the image comes from."""
    images = tiny_models.images()
    for method in (LIME, GradCAM):
        close(method(model, input="image")(images, TARGETS), method(model)(images, TARGETS))


def test_removed_pixels_are_black_or_no_colour(model):
    images, labels = tiny_models.images(), np.array([1, 2])
    maps = np.random.default_rng(1).random((2, 12, 10))
    curves = {
        name: metrics.pixel_removal(Classifier(model, input=name), images, labels, maps, fraction=1.0, points=2)
        for name in ("image", "encoded")
    }
    black = 1 / (1 + np.exp(-logits(model, np.zeros_like(images))))[np.arange(2), labels]
    np.testing.assert_allclose(curves["image"][:, 1], black, rtol=1e-4)
    np.testing.assert_array_equal(metrics.pixel_removal(model, images, labels, maps, fraction=1.0, points=2),
                                  curves["encoded"])  # fmt: skip
    assert np.abs(curves["image"][:, 1] - curves["encoded"][:, 1]).max() > 1e-3


@pytest.mark.one_backend
def test_an_evaluation_does_not_go_on_with_the_other_input(tmp_path):
    model, images, labels = tiny_models.coda_net(), tiny_models.images(), np.array([1, 2])
    arguments = {"methods": {"gradient": Gradient}, "directory": tmp_path, "points": 3, "verbose": 0}
    arguments["metrics"] = ["removal_least_first"]
    metrics.measure(model, images, labels, **arguments)
    with pytest.raises(ValueError, match=r"other settings.*'input': 'image'"):
        metrics.measure(Classifier(model, input="image"), images, labels, **arguments)


@pytest.mark.one_backend
def test_models_without_an_encoding_are_the_same():
    model, images = tiny_models.cnn(), tiny_models.images()
    for method in (Gradient, Occlusion, DeepLIFT):
        np.testing.assert_array_equal(method(model, input="image")(images), method(model)(images))
    plain = tiny_models.draw_weights(small_coda_net(image_shape=tiny_models.IMAGE_SHAPE, add_negative=False))
    close(Gradient(plain, input="image")(images), Gradient(plain)(images))


def test_other_data_formats():
    first = tiny_models.coda_net(image_shape=(3, 12, 10), data_format="channels_first")
    last = tiny_models.coda_net()
    first.set_weights(last.get_weights())
    images = tiny_models.images()
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no such convolutions on CPUs.")
    got = attributions.Gradient(first, input="image")(np.moveaxis(images, -1, 1), TARGETS)
    close(np.moveaxis(got, 2, -1), attributions.Gradient(last, input="image")(images, TARGETS))
