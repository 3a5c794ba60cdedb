"""Occlusion: against a loop over patches, Captum, and what must hold of a linear model."""

import itertools

import keras
import numpy as np
import pytest
import tiny_models

from keras_coda import DAUConv2D
from keras_coda.attributions import Contributions, Occlusion
from keras_coda.layers import InputEncoding, LogitScaling, SumPooling2D

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


def chain(convolutions, data_format="channels_last", rescaling="sq", dtype="float32", head=None):
    """Layers that are computed by windows: `DAUConv2D` of (kernel, stride, padding), for images of 26 x 22 pixels."""
    common = {"data_format": data_format, "dtype": dtype}
    widths = [3] * (len(convolutions) - 1) + [4]
    dau_layers = [
        DAUConv2D(filters, kernel, rank=2, strides=stride, padding=padding, rescaling=rescaling, **common)
        for filters, (kernel, stride, padding) in zip(widths, convolutions, strict=True)
    ]
    pooling = SumPooling2D(data_format=data_format)
    head = head or [LogitScaling(10.0, 0.0), keras.layers.Activation("tanh")]
    shape = (26, 22, 3) if data_format == "channels_last" else (3, 26, 22)
    return tiny_models.draw_weights(
        keras.Sequential([keras.Input(shape), InputEncoding(**common), *dau_layers, pooling, *head]), scale=0.6
    )


def images_of_chain(count=2):
    return np.random.default_rng(1).random((count, 26, 22, 3), dtype="float32")


def expect_windows(method):
    assert method._patch_drops.pays((26, 22), method.patch, method.batch_size)


CHAINS = {
    "symmetric": [(3, 2, "symmetric"), (3, 1, "symmetric"), (1, 1, "symmetric")],
    "even kernels": [(4, 2, "symmetric"), ((2, 3), (1, 2), "symmetric")],
    "same": [(3, 2, "same"), (2, 1, "same"), (4, 3, "same")],
    "valid": [(5, 3, "valid"), (2, 2, "valid")],
    "gaps": [(2, 3, "valid"), (1, 2, "same")],
}


@pytest.mark.parametrize(
    ("layout", "patch", "stride", "batch_size"),
    [("symmetric", 4, 4, 32), ("even kernels", 3, 2, 1), ("same", 3, 2, 8), ("valid", 4, 3, 32), ("gaps", 3, 2, 8)],
)
def test_windows_of_a_coda_net(layout, patch, stride, batch_size):
    images = images_of_chain()
    method = Occlusion(chain(CHAINS[layout]), patch=patch, stride=stride, batch_size=batch_size)
    expect_windows(method)
    got = method(images, TARGETS)
    source = method.classifier.source(images)
    for i, k in np.ndindex(*TARGETS.shape):
        want = one_by_one(method.classifier, source[i], TARGETS[i, k], patch, stride)
        np.testing.assert_allclose(got[i, k], want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("layout", ["symmetric", "even kernels"])
def test_windows_of_the_image_itself(layout):
    """Patches reach over the border, where even kernels see the zeros around the image."""
    images, baseline = images_of_chain(), np.array([0.2, 0.4, 0.6])
    method = Occlusion(chain(CHAINS[layout]), patch=4, stride=3, baseline=baseline, input="image")
    expect_windows(method)
    want = one_by_one(method.classifier, images[1], 2, 4, 3, baseline)
    np.testing.assert_allclose(method(images, 2)[1], want, atol=2e-5 * np.abs(want).max())


def test_windows_in_both_data_formats_and_in_low_precision():
    images, baseline = images_of_chain(), np.random.default_rng(2).random((2, 26, 22, 6))
    want = Occlusion(chain(CHAINS["even kernels"]), patch=4, baseline=baseline)(images, "all")
    settings = {"patch": 4, "baseline": np.moveaxis(baseline, -1, 1)}
    method = Occlusion(chain(CHAINS["even kernels"], "channels_first"), **settings)
    expect_windows(method)
    np.testing.assert_allclose(method(np.moveaxis(images, -1, 1), "all"), want, atol=1e-5 * np.abs(want).max())
    method = Occlusion(chain(CHAINS["even kernels"], dtype="mixed_bfloat16"), patch=4, baseline=baseline)
    expect_windows(method)
    np.testing.assert_allclose(method(images, "all"), want, atol=0.1 * np.abs(want).max())


def test_windows_follow_the_model_and_leave_it_as_it_is():
    model, images = chain(CHAINS["symmetric"], head=[keras.layers.Dense(4)]), images_of_chain()
    method = Occlusion(model, patch=3)
    expect_windows(method)
    weights = model.get_weights()
    first = method(images, 1)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    # The last weights are those of the head.
    for scale in (1.0, 0.5):
        model.set_weights([*(scale * weight for weight in weights[:-2]), -2 * weights[-2], weights[-1]])
        if scale != 1.0:
            model.layers[1].rescaling = abs
            method.patch = 5
        expect_windows(method)
        want = by_the_whole_network(Occlusion(model, patch=method.patch), images, 1)
        np.testing.assert_allclose(method(images, 1), want, atol=2e-5 * np.abs(want).max())
        assert np.abs(want - first).max() > 0.1 * np.abs(first).max()


def by_the_whole_network(method, images, targets):
    method._patch_drops = None
    return method(images, targets)


def graph(name):
    """A model in which a chain of layers is not the whole model, or is none."""
    common = {"data_format": "channels_last"}

    def dau(filters=3):
        return DAUConv2D(filters, 3, rank=2, **common)

    def pooled(x, **settings):
        return SumPooling2D(**{**common, **settings})(x)

    inputs, images, sums = keras.Input((26, 22, 3)), keras.Input((26, 22, 3)), keras.Input((3,))
    shared = dau()
    branches = keras.Model(images, [dau()(shared(images)), dau()(shared(images))])
    heads = keras.Model(sums, [keras.layers.Dense(3)(sums), keras.layers.Dense(3)(sums)])
    outputs = {
        "part of the outputs": lambda: keras.ops.split(pooled(dau(6)(inputs)), 2, axis=-1)[1],
        "second head": lambda: heads(pooled(dau()(inputs)))[1],
        "residual head": lambda: (x := pooled(dau()(inputs))) + keras.layers.Dense(3)(x),
        "one of two branches": lambda: pooled(branches(inputs)[0]),
        "a layer used twice": lambda: pooled(shared(shared(inputs))),
        "two pools": lambda: pooled(dau()(inputs)) + pooled(dau()(inputs)),
        "residual": lambda: pooled(dau()(inputs) + dau()(inputs)),
        "two data formats": lambda: pooled(dau()(inputs), data_format="channels_first"),
        "no layer": lambda: pooled(inputs),
    }
    return tiny_models.draw_weights(keras.Model(inputs, outputs[name]()))


@pytest.mark.parametrize(
    "name", ["part of the outputs", "second head", "residual head", "one of two branches", "a layer used twice"]
)
def test_windows_in_graphs(name):
    method, images = Occlusion(graph(name), patch=6, stride=5), images_of_chain()
    expect_windows(method)
    got = method(images, "all")
    want = by_the_whole_network(method, images, "all")
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("name", ["two pools", "residual", "two data formats", "no layer"])
def test_graphs_without_windows(name):
    assert Occlusion(graph(name))._patch_drops is None


def test_a_layer_with_a_call_of_its_own_has_no_windows():
    model = chain(CHAINS["valid"])
    assert Occlusion(model)._patch_drops is not None
    layer = model.layers[2]
    call = layer.call
    layer.call = lambda inputs: 2.0 * call(inputs)
    assert Occlusion(model)._patch_drops is None


@pytest.mark.one_backend
def test_windows_are_not_rounded_to_keras_policy_of_the_moment(low_precision):
    model, images = chain(CHAINS["valid"]), images_of_chain()
    want = Occlusion(model, patch=4)(images, 1)
    with low_precision():
        got = Occlusion(model, patch=4)(images, 1)
    np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="`keras.distribution` needs JAX here")
def test_several_devices_have_no_windows():
    method = Occlusion(chain(CHAINS["symmetric"]), patch=3)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:1]))
    try:
        assert not method._patch_drops.pays((26, 22), 3, 32)
    finally:
        keras.distribution.set_distribution(None)


def test_an_image_too_small_for_a_layer():
    model = tiny_models.coda_net(image_shape=(None, None, 3))
    model = type(model).from_config({**model.get_config(), "kernel_sizes": [4, 4], "strides": [8, 1]})
    with pytest.raises(ValueError, match="finds no position in images of shape"):
        Occlusion(model, patch=2)(images_of_chain()[:, :8], 0)


@pytest.mark.parametrize("make", [tiny_models.cnn, tiny_models.linear])
def test_other_models_have_no_windows(make):
    assert Occlusion(make())._patch_drops is None


def test_subclasses_of_the_layers_have_no_windows():
    class Doubled(DAUConv2D):
        def call(self, inputs):
            return 2 * super().call(inputs)

    layers = [Doubled(4, 3, rank=2, data_format="channels_last"), SumPooling2D(data_format="channels_last")]
    assert Occlusion(keras.Sequential([keras.Input((26, 22, 3)), *layers]))._patch_drops is None


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
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Occlusion(tiny_models.linear(), **settings)(tiny_models.images(), 0)
