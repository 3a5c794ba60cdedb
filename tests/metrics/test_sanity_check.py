import random

import keras
import numpy as np
import pytest
from scipy import stats
from skimage import feature, filters
from skimage.metrics import structural_similarity
from small_models import IMAGE_SHAPE, small_coda_net

from keras_coda import metrics
from keras_coda.attributions import Contributions, Gradient

SIMILARITIES = ["ssim", "rank_correlation", "absolute_rank_correlation", "hog"]


class Edges:
    """Edges of the images, whatever the model."""

    def __init__(self, model):
        pass

    def maps(self, images, targets):
        return np.stack([filters.sobel(image.mean(-1)) for image in images])


class Watched:
    """Keeps the weights that the model has at each call, and gives the maps it is told to give."""

    def __init__(self, maps=()):
        self.given = iter(maps)
        self.seen, self.targets = [], []

    def __call__(self, model):
        self.model = model
        return self

    def maps(self, images, targets):
        self.seen.append([weight.copy() for weight in self.model.get_weights()])
        self.targets.append(targets)
        return next(self.given, np.tile(np.arange(80.0).reshape(8, 10), (len(images), 1, 1)))


def small_model():
    """Three layers with weights, two of them in a nested model, one with a fixed seed."""
    layers = keras.layers
    fixed = keras.initializers.RandomNormal(seed=1)
    body = keras.Sequential(
        [
            keras.Input((8, 10, 2)),
            layers.Conv2D(3, 3, activation="tanh", name="first", bias_initializer="random_normal"),
            layers.Conv2D(4, 3, activation="tanh", name="second", kernel_initializer=fixed, use_bias=False),
        ]
    )
    inputs = keras.Input((8, 10, 2))
    return keras.Model(inputs, layers.Dense(3, name="third", use_bias=False)(layers.Flatten()(body(inputs))))


# Which weights belong to which layer of `small_model`.
LAYERS = {"first": {0, 1}, "second": {2}, "third": {3}}


@pytest.fixture
def images(rng):
    return rng.uniform(size=(3, 8, 10, 2)).astype("float32")


class TestSanityCheck:
    def test_a_method_that_ignores_the_model_does_not_change(self, images):
        table = metrics.sanity_check(small_model(), Edges, images)
        np.testing.assert_array_equal(table[SIMILARITIES], 1.0)
        assert list(table["layer"]) == ["original"] * 3 + ["third"] * 3 + ["second"] * 3 + ["first"] * 3
        np.testing.assert_array_equal(table["step"], np.repeat(np.arange(4), 3))
        np.testing.assert_array_equal(table["image"], np.tile(np.arange(3), 4))

    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_a_gradient_does(self, images, mode):
        model = small_model()
        before = model.get_weights()
        table = metrics.sanity_check(model, Gradient, images, mode=mode)
        np.testing.assert_array_equal(table[table["step"] == 0][SIMILARITIES], 1.0)
        means = table.groupby("step")[SIMILARITIES].mean()
        assert (means.loc[1:, ["ssim", "rank_correlation", "hog"]] < 0.7).all(axis=None)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_randomises_layers_from_the_output_back(self, images, mode):
        model = small_model()
        method = Watched()
        metrics.sanity_check(model, method, images, targets=1, mode=mode)
        expected = [set(), LAYERS["third"], LAYERS["second"], LAYERS["first"]]
        if mode == "cascading":
            expected = [set.union(*expected[: step + 1]) for step in range(4)]
        changed = [
            {
                number
                for number, (one, other) in enumerate(zip(model.get_weights(), seen, strict=True))
                if not np.array_equal(one, other)
            }
            for seen in method.seen
        ]
        assert changed == expected
        assert method.targets == [1] * 4
        # By the initializers: the fixed seed is that of weights of this deviation.
        assert 0.03 < method.seen[2][2].std() < 0.07

    def test_explains_the_class_that_the_model_predicted(self, images):
        model, method = small_model(), Watched()
        metrics.sanity_check(model, method, images)
        for targets in method.targets:
            np.testing.assert_array_equal(targets, model.predict(images, verbose=0).argmax(-1))

    def test_the_seed_makes_the_weights(self, images):
        model, methods = small_model(), [Watched() for _ in range(3)]
        state = random.getstate()
        for method, seed in zip(methods, [0, 0, 1], strict=True):
            metrics.sanity_check(model, method, images, seed=seed)
        assert random.getstate() == state
        last, same, other = (method.seen[-1] for method in methods)
        assert all(np.array_equal(*pair) for pair in zip(last, same, strict=True))
        assert not any(np.array_equal(*pair) for pair in zip(last, other, strict=True))

    def test_similarities_of_known_maps(self, rng, images):
        maps = rng.normal(size=(3, 8, 10))
        given = [maps, -2 * maps, 3 * maps, np.zeros_like(maps)]
        table = metrics.sanity_check(small_model(), Watched(given), images, targets=0)
        means = table.groupby("step")[SIMILARITIES].mean()
        # Turned round, the order is the opposite; gradients have no sign in HOG.
        np.testing.assert_allclose(means.loc[1, SIMILARITIES[1:]], [-1, 1, 1])
        assert means.loc[1, "ssim"] < 0.7
        np.testing.assert_allclose(means.loc[2], 1.0)
        np.testing.assert_array_equal(means.loc[3, SIMILARITIES[1:]], 0.0)

    def test_similarities_are_those_of_scipy_and_skimage(self, rng, images):
        before, after = rng.normal(size=(2, 3, 16, 24))
        after = after - 2 * after.max()  # all negative
        table = metrics.sanity_check(small_model(), Watched([before, *[after] * 3]), images, targets=0)
        for row, *maps in zip(table[table["step"] == 1].itertuples(), before, after, strict=True):
            a, b = (map_ / np.abs(map_).max() for map_ in maps)
            assert row.ssim == pytest.approx(structural_similarity(a, b, data_range=2.0))
            assert row.rank_correlation == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic)
            of_absolute = stats.spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic
            assert row.absolute_rank_correlation == pytest.approx(of_absolute)
            hogs = [feature.hog(map_, pixels_per_cell=(2, 3)) for map_ in (a, b)]  # 8 x 8 cells
            assert row.hog == pytest.approx(stats.pearsonr(*hogs).statistic)

    def test_works_on_a_coda_net(self, rng):
        images = rng.uniform(size=(2, *IMAGE_SHAPE)).astype("float32")
        table = metrics.sanity_check(small_coda_net(), Contributions, images)
        assert list(table["layer"].unique()) == ["original", "dau_3", "dau_2", "dau_1"]
        assert table[SIMILARITIES].notna().all(axis=None)
        assert (table.groupby("step")["ssim"].mean().loc[1:] < 0.7).all()

    def test_refuses(self, images):
        with pytest.raises(ValueError, match="`mode` must be one of"):
            metrics.sanity_check(small_model(), Gradient, images, mode="all")
        with pytest.raises(ValueError, match="must be finite"):
            metrics.sanity_check(small_model(), Watched([np.full((3, 8, 10), np.nan)]), images)
        inputs = keras.Input((8, 10, 2))
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
        with pytest.raises(ValueError, match="Expected a model with weights"):
            metrics.sanity_check(model, Gradient, images)


def test_integer_images_of_a_coda_net():
    images, model = np.random.default_rng(0).integers(0, 256, (2, *IMAGE_SHAPE), "uint8"), small_coda_net()
    tables = [metrics.sanity_check(model, Contributions, x) for x in (images, images.astype("float32") / 255)]
    np.testing.assert_allclose(*(table[SIMILARITIES] for table in tables), atol=1e-5)


@keras.saving.register_keras_serializable("sanity_check")
class Block(keras.layers.Layer):
    """Layers that are made at once, and built by their first call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Conv2D(3, 3, data_format="channels_last")
        self.second = keras.layers.Conv2D(2, 1, data_format="channels_last")

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_randomises_layers_that_have_no_build(images):
    model = keras.Sequential([keras.Input((8, 10, 2)), Block(), keras.layers.Flatten(), keras.layers.Dense(3)])
    method = Watched()
    table = metrics.sanity_check(model, method, images, targets=0)
    assert list(table["step"].unique()) == [0, 1, 2]
    before, after = method.seen[0], method.seen[2]
    changed = [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    # All kernels. Biases are zeros again.
    assert changed == [True, False, True, False, True, False]
