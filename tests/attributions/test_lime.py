"""LIME: against the lime package and scikit-image's quickshift."""

import keras
import numpy as np
import pytest
import tiny_models
from skimage import data, segmentation

from keras_coda.attributions import LIME
from keras_coda.attributions.lime import superpixel_weights


def photographs():
    """Two crops of a photograph that comes with scikit-image, `(2, 24, 24, 3)` in [0, 1]."""
    astronaut = data.astronaut()[40:232:8, 150:342:4] / np.float32(255)
    return np.stack([astronaut[:, :24], astronaut[:, 24:]]).astype("float32")


def classifier(channels=3):
    stack = [
        keras.Input((24, 24, channels)),
        keras.layers.Conv2D(4, 5, strides=4, activation="relu", data_format="channels_last"),
        keras.layers.Flatten(data_format="channels_last"),
        keras.layers.Dense(4),
    ]
    return tiny_models.draw_weights(keras.Sequential(stack))


@pytest.mark.one_backend
@pytest.mark.parametrize("features", [1, 3, 6, 9])
@pytest.mark.parametrize("superpixels", [2, 12, 40])
def test_the_linear_model_is_that_of_the_lime_package(rng, features, superpixels):
    lime_base = pytest.importorskip("lime.lime_base")
    metrics = pytest.importorskip("sklearn.metrics")
    kept = rng.integers(0, 2, (100, superpixels))
    kept[0] = 1
    scores = 1 / (1 + np.exp(-kept @ rng.normal(size=(superpixels, 3)) + rng.normal(scale=0.3, size=(100, 3))))
    distances = metrics.pairwise_distances(kept, kept[:1], metric="cosine").ravel()
    explainer = lime_base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)))
    for target in range(3):
        _, pairs, *_ = explainer.explain_instance_with_data(kept, scores, distances, target, features)
        want = np.zeros(superpixels)
        for feature, weight in pairs:
            want[feature] = weight
        got = superpixel_weights(kept, scores[:, target], features)
        np.testing.assert_array_equal(got != 0, want != 0)
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_maps_are_those_of_the_lime_package():
    lime_image = pytest.importorskip("lime.lime_image")
    images, targets = photographs(), np.array([[2, 0], [1, 3]])
    method = LIME(classifier(), kernel_size=1, samples=80, seed=5)
    got = method(images, targets)
    for i, image in enumerate(images):
        explainer = lime_image.LimeImageExplainer(random_state=5)
        explanation = explainer.explain_instance(
            image,
            lambda x: method.classifier.probabilities(method.classifier.outputs(x)),
            labels=targets[i],
            top_labels=None,
            num_features=3,
            num_samples=80,
            segmentation_fn=lambda image: segmentation.quickshift(
                image.astype("float64"), kernel_size=1, max_dist=200, ratio=0.2, rng=5
            ),
            random_seed=0,
        )
        assert explanation.segments.max() >= 5
        for k, target in enumerate(targets[i]):
            want = np.zeros((24, 24))
            for superpixel, weight in explanation.local_exp[target]:
                want[explanation.segments == superpixel] = weight
            assert len(np.unique(want)) == 4
            np.testing.assert_allclose(got[i, k], want, atol=1e-6)


def test_superpixels_are_those_of_the_image_in_the_unit_range():
    method = LIME(classifier(), kernel_size=1)
    image = photographs()[0]
    expected = method.superpixels(image)
    assert sorted(np.unique(expected)) == list(range(expected.max() + 1))
    stretched = (image - image.min()) / (image.max() - image.min())
    integers = np.round(255 * stretched).astype("uint8")
    in_unit_range = segmentation.quickshift(integers / 255, kernel_size=1, max_dist=200, ratio=0.2, rng=0)
    np.testing.assert_array_equal(method.superpixels(integers), in_unit_range)
    np.testing.assert_array_equal(method.superpixels(integers.astype("float32")), in_unit_range)
    np.testing.assert_array_equal(method.superpixels(integers / 127.5 - 1), in_unit_range)
    gray = image[..., :1]
    np.testing.assert_array_equal(method.superpixels(gray), method.superpixels(np.repeat(gray, 3, axis=-1)))


def test_larger_kernels_make_fewer_superpixels():
    counts = [LIME(classifier(), kernel_size=size).superpixels(photographs()[0]).max() for size in (1, 2, 4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_superpixels_that_are_off_have_their_mean_colour_in_all_encoded_channels():
    """With two superpixels and all their variants, the fit of both is known."""
    method = LIME(tiny_models.coda_net(), samples=300, features=2, activation="linear")
    image = np.concatenate([np.full((6, 10, 3), 0.1), np.full((6, 10, 3), 0.9)]).astype("float32")
    image += np.random.default_rng(0).normal(scale=0.02, size=image.shape).astype("float32")
    halves = np.repeat([0, 1], 6)[:, np.newaxis] * np.ones((1, 10), int)
    method.superpixels = lambda image: halves
    encoded = method.classifier.source(image[np.newaxis])[0]
    off = encoded.copy()
    for rows in (slice(0, 6), slice(6, 12)):
        off[rows] = encoded[rows].mean((0, 1))
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    variants = np.stack([np.where(np.array(c)[halves][..., np.newaxis] == 1, encoded, off) for c in corners])
    outputs = method.classifier.outputs(variants)[:, 1]
    kept = np.random.RandomState(0).randint(0, 2, (300, 2))
    kept[0] = 1
    want = superpixel_weights(kept, outputs[2 * kept[:, 0] + kept[:, 1]], 2)
    np.testing.assert_allclose(method(image[np.newaxis], 1)[0], want[halves], atol=1e-3 * np.abs(want).max())


def test_the_seed_decides_and_the_other_images_do_not():
    images = photographs()
    model = classifier()

    def maps(seed, images):
        return LIME(model, kernel_size=1, samples=40, seed=seed)(images, 0)

    np.testing.assert_allclose(maps(3, images)[1:], maps(3, images[1:]), atol=1e-6)
    assert np.abs(maps(3, images) - maps(4, images)).max() > 1e-3


def test_gray_images_and_few_superpixels():
    method = LIME(classifier(channels=1), samples=20)
    flat = np.full((1, 24, 24, 1), 0.5, "float32")
    assert method(flat, "all").shape == (1, 4, 24, 24)
    assert np.isfinite(method(flat)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "`samples` must be a positive integer. Received: 0"),
        ({"features": -3}, "`features` must be a positive integer. Received: -3"),
        ({"kernel_size": 0.5}, "`kernel_size` must be at least 1. Received: 0.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LIME(tiny_models.linear(), **settings)


@pytest.mark.parametrize("before", ["Resizing", "Permute"])
def test_superpixels_are_those_of_what_the_encoding_takes(before):
    network, images = tiny_models.coda_net((8, 8, 3)), photographs()
    layers = {
        "Resizing": lambda: [keras.layers.Resizing(8, 8, data_format="channels_last")],
        "Permute": lambda: [keras.layers.Cropping2D(8, data_format="channels_last"), keras.layers.Permute((2, 1, 3))],
    }[before]()
    x = inputs = keras.Input((24, 24, 3))
    for layer in layers:
        x = layer(x)
    taken = keras.ops.convert_to_numpy(keras.Model(inputs, x).predict(images, verbose=0))
    want = LIME(network, kernel_size=1, samples=30)(taken, 1)
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(
        LIME(keras.Model(inputs, network(x)), kernel_size=1, samples=30)(images, 1), want, atol=1e-5
    )
