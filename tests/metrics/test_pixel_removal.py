import keras
import numpy as np
import pytest
from colour_model import colour_model
from linear_model import BIAS, CLASSES, SHAPE, linear_model, sigmoid
from small_models import IMAGE_SHAPE, LOGIT_BIAS, small_coda_net

from keras_coda import metrics
from keras_coda.attributions import Classifier

PIXELS = SHAPE[0] * SHAPE[1]
TARGETS = np.array([2, 0])


@pytest.fixture
def linear(rng):
    """A model with sigmoid probabilities, images, and the contributions of their pixels to the targets `(2, 3, 4)`."""
    kernel = rng.normal(size=(*SHAPE, CLASSES))
    images = rng.uniform(0.1, 1, (2, *SHAPE)).astype("float32")
    contributions = np.einsum("nhwc,hwcn->nhw", images, kernel[..., TARGETS])
    return Classifier(linear_model(kernel), activation="sigmoid"), images, contributions


def closed_form(contributions, order):
    """The probabilities with 0, 1, ... pixels removed in this order, `(N, pixels + 1)`."""
    removed = np.take_along_axis(contributions.reshape(2, -1), order, axis=-1).cumsum(axis=-1)
    total = contributions.sum((1, 2))[:, np.newaxis]
    return sigmoid(BIAS + total - np.pad(removed, [(0, 0), (1, 0)]))


class TestPixelRemoval:
    def test_the_right_order_rises_and_then_falls(self, linear):
        model, images, contributions = linear
        curves = metrics.pixel_removal(
            model, images, TARGETS, contributions, fraction=1.0, points=PIXELS + 1, batch_size=5
        )
        order = np.argsort(contributions.reshape(2, -1))
        np.testing.assert_allclose(curves, closed_form(contributions, order), rtol=1e-5)
        for curve, negative in zip(curves, (contributions < 0).sum((1, 2)), strict=True):
            assert 0 < negative < PIXELS
            assert (np.diff(curve)[:negative] > 0).all()
            assert (np.diff(curve)[negative:] < 0).all()

    def test_the_wrong_order_falls_and_then_rises(self, linear):
        model, images, contributions = linear
        curves = metrics.pixel_removal(model, images, TARGETS, -contributions, fraction=1.0, points=PIXELS + 1)
        order = np.argsort(-contributions.reshape(2, -1))
        np.testing.assert_allclose(curves, closed_form(contributions, order), rtol=1e-5)
        for curve, positive in zip(curves, (contributions > 0).sum((1, 2)), strict=True):
            assert (np.diff(curve)[:positive] < 0).all()

    def test_most_important_first_is_the_order_reversed(self, linear):
        model, images, contributions = linear
        settings = {"fraction": 1.0, "points": PIXELS + 1}
        first = metrics.pixel_removal(model, images, TARGETS, contributions, most_important_first=True, **settings)
        reverse = metrics.pixel_removal(model, images, TARGETS, -contributions, **settings)
        np.testing.assert_array_equal(first, reverse)

    @pytest.mark.parametrize("most_important_first", [False, True])
    def test_equal_pixels_go_in_reading_order(self, rng, most_important_first):
        # NumPy's default sort keeps the order of up to 16 numbers only.
        images = rng.uniform(1, 2, (1, 8, 8, 4)).astype("float32")
        maps = np.tile(np.array([0, 1], "uint8"), (1, 8, 4))
        model = Classifier(colour_model(), activation="linear")
        curves = metrics.pixel_removal(model, images, [2], maps, most_important_first, fraction=1.0, points=65)
        zeros, ones = range(0, 64, 2), range(1, 64, 2)
        order = [*ones, *zeros] if most_important_first else [*zeros, *ones]
        values = images[0, ..., 2].ravel()[order]
        np.testing.assert_allclose(curves[0], [values[n:].sum() / 64 for n in range(65)], rtol=1e-4, atol=1e-6)

    def test_maps_of_unsigned_integers_are_ranked_by_value(self, linear):
        model, images, contributions = linear
        maps = np.argsort(np.argsort(contributions.reshape(2, -1))).reshape(contributions.shape)
        settings = {"most_important_first": True, "fraction": 1.0, "points": PIXELS + 1}
        np.testing.assert_array_equal(
            metrics.pixel_removal(model, images, TARGETS, maps.astype("uint8"), **settings),
            metrics.pixel_removal(model, images, TARGETS, contributions, **settings),
        )

    @pytest.mark.parametrize(
        ("fraction", "points", "removed"),
        [(0.25, 4, [0, 1, 2, 3]), (0.5, 3, [0, 3, 6]), (0.25, 7, [0, 0, 1, 1, 2, 2, 3])],
    )
    def test_steps(self, linear, fraction, points, removed):
        model, images, contributions = linear
        curves = metrics.pixel_removal(model, images, TARGETS, contributions, fraction=fraction, points=points)
        whole = metrics.pixel_removal(model, images, TARGETS, contributions, fraction=1.0, points=PIXELS + 1)
        np.testing.assert_allclose(curves, whole[:, removed], rtol=1e-6)

    def test_channels_first(self, rng, linear):
        model, images, contributions = linear
        kernel = model.model.layers[-1].get_weights()[0].reshape(*SHAPE, CLASSES)
        first = Classifier(linear_model(kernel, "channels_first"), activation="sigmoid")
        np.testing.assert_allclose(
            metrics.pixel_removal(first, np.moveaxis(images, -1, 1), TARGETS, contributions, points=4),
            metrics.pixel_removal(model, images, TARGETS, contributions, points=4),
            rtol=1e-5,
        )

    def test_removes_all_channels_of_the_encoded_image(self, rng):
        # Without any encoded channel left, a CoDA-Net's logits do not depend on the image, black or white.
        model = small_coda_net(use_bias=False)
        images = np.stack([np.zeros(IMAGE_SHAPE), np.ones(IMAGE_SHAPE), rng.uniform(size=IMAGE_SHAPE)])
        maps = rng.normal(size=(3, *IMAGE_SHAPE[:2]))
        curves = metrics.pixel_removal(model, images.astype("float32"), [1, 1, 1], maps, fraction=1.0, points=3)
        np.testing.assert_allclose(curves[:, -1], sigmoid(LOGIT_BIAS), rtol=1e-6)
        assert len(np.unique(curves[:, 0])) == 3

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"maps": np.zeros((2, 4, 3))}, r"`maps` must be of shape \(2, 3, 4\)"),
            ({"maps": np.zeros((2, 3, 4, 2))}, r"`maps` must be of shape \(2, 3, 4\)"),
            ({"maps": np.zeros((1, 3, 4))}, r"Received: shape \(1, 3, 4\)"),
            ({"maps": np.full((2, 3, 4), np.nan)}, "must be finite"),
            ({"targets": [0, 3]}, "0..2"),
            ({"fraction": 0.0}, "`fraction` must be in"),
            ({"fraction": 1.1}, "`fraction` must be in"),
            ({"points": 1}, "`points` at least 2"),
        ],
    )
    def test_refuses(self, linear, arguments, error):
        model, images, contributions = linear
        with pytest.raises(ValueError, match=error):
            metrics.pixel_removal(
                model, images, **{"targets": TARGETS, "maps": contributions, "points": 3, **arguments}
            )

    def test_refuses_a_model_that_gives_nan_without_some_pixels(self, linear):
        model, images, contributions = linear
        # Of a black image it is the logarithm of 0.
        logits = keras.layers.Lambda(lambda x: keras.ops.log(keras.ops.abs(x - BIAS)))(model.model.outputs[0])
        infinite = Classifier(keras.Model(model.model.inputs, logits), activation="linear")
        with pytest.raises(ValueError, match=r"outputs of model .* are NaN or infinite"):
            metrics.pixel_removal(infinite, images, TARGETS, contributions, fraction=1.0, points=2)
