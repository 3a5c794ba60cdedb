import numpy as np
import pytest
from linear_model import BIAS, CLASSES, SHAPE, linear_model, sigmoid
from scipy import ndimage
from small_models import IMAGE_SHAPE, small_coda_net

from keras_coda import metrics
from keras_coda.attributions import Classifier

PIXELS = SHAPE[0] * SHAPE[1]
TARGETS = np.array([1, 2])


def contributions_of(images, kernel):
    return np.einsum("nhwc,hwcn->nhw", images, kernel[..., TARGETS])


def path(start, end, order):
    """The probabilities as the pixels' contributions go from those of `start` to those of `end` in this order."""
    difference = (end - start).reshape(2, -1)
    changed = np.take_along_axis(difference, order, axis=-1).cumsum(axis=-1)
    return sigmoid(BIAS + start.sum((1, 2))[:, np.newaxis] + np.pad(changed, [(0, 0), (1, 0)]))


class TestInsertionAndDeletion:
    @pytest.fixture
    def linear(self, rng):
        kernel = rng.normal(size=(*SHAPE, CLASSES))
        images = rng.uniform(0.1, 1, (2, *SHAPE)).astype("float32")
        return Classifier(linear_model(kernel), activation="sigmoid"), images, kernel

    def test_deletion(self, linear):
        model, images, kernel = linear
        contributions = contributions_of(images, kernel)
        curves = metrics.deletion(model, images, TARGETS, contributions, points=PIXELS + 1)
        order = np.argsort(-contributions.reshape(2, -1))
        np.testing.assert_allclose(curves, path(contributions, np.zeros_like(contributions), order), rtol=1e-5)

    def test_insertion(self, linear):
        model, images, kernel = linear
        contributions = contributions_of(images, kernel)
        # One image and channel at a time: neither is blurred into the other.
        blurred = np.zeros_like(images)
        for n in range(2):
            for c in range(SHAPE[-1]):
                blurred[n, ..., c] = ndimage.gaussian_filter(images[n, ..., c], 1.5)
        curves = metrics.insertion(model, images, TARGETS, contributions, points=PIXELS + 1, sigma=1.5)
        order = np.argsort(-contributions.reshape(2, -1))
        np.testing.assert_allclose(curves, path(contributions_of(blurred, kernel), contributions, order), rtol=1e-5)

    def test_channels_first(self, linear, rng):
        model, images, kernel = linear
        first = Classifier(linear_model(kernel, "channels_first"), activation="sigmoid")
        maps = rng.normal(size=(2, *SHAPE[:2]))
        for metric in (metrics.insertion, metrics.deletion):
            np.testing.assert_allclose(
                metric(first, np.moveaxis(images, -1, 1), TARGETS, maps, points=5),
                metric(model, images, TARGETS, maps, points=5),
                rtol=1e-5,
            )

    def test_the_right_order_is_the_best(self, linear, rng):
        model, images, kernel = linear
        kernel = np.abs(kernel)
        model = Classifier(linear_model(kernel), activation="sigmoid")
        contributions = contributions_of(images, kernel)
        right, wrong, other = (
            metrics.auc(metrics.deletion(model, images, TARGETS, maps, points=PIXELS + 1))
            for maps in (contributions, -contributions, rng.normal(size=contributions.shape))
        )
        assert (right < other).all()
        assert (other < wrong).all()

    def test_insertion_in_low_precision(self, rng):
        # SciPy has no filters for float16.
        images, maps = rng.random((2, *IMAGE_SHAPE), "float32"), rng.normal(size=(2, *IMAGE_SHAPE[:2]))
        assert metrics.insertion(small_coda_net(dtype="mixed_float16"), images, [0, 1], maps, points=3).shape == (2, 3)

    @pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan])
    def test_refuses_sigma(self, linear, sigma):
        model, images, kernel = linear
        with pytest.raises(ValueError, match="`sigma` must be positive"):
            metrics.insertion(model, images, TARGETS, contributions_of(images, kernel), sigma=sigma)


class TestAuc:
    def test_of_known_areas(self):
        x = np.linspace(0, 1, 101)
        np.testing.assert_allclose(metrics.auc([np.ones(101), x, 1 - x, x**2]), [1, 0.5, 0.5, 1 / 3], atol=1e-4)
