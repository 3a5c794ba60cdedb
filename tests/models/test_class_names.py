"""A model knows what it is: the names of its classes, the size and the range of its images."""

import functools
import json
import warnings

import keras
import numpy as np
import pytest
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

from keras_coda import CoDANet, plots, presets
from keras_coda.attributions import Gradient

NAMES = ["bird", "cat", "dog", "all"]
SHAPE = (None, None, 3)
assert len(NAMES) == CLASSES


@pytest.fixture(scope="module")
def model():
    return small_coda_net(
        filters=[CLASSES],
        kernel_sizes=[3],
        ranks=[2],
        strides=[2],
        image_shape=SHAPE,
        class_names=NAMES,
        image_size=IMAGE_SHAPE[:2],
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, *IMAGE_SHAPE), "float32")


def is_known(model):
    return [*model.class_names] == NAMES and tuple(model.image_size) == IMAGE_SHAPE[:2]


def test_it_is_kept_by_configs_files_and_presets(model, tmp_path):
    assert is_known(model)
    assert is_known(CoDANet.from_config(json.loads(json.dumps(model.get_config()))))
    assert model.value_range == tuple(model.get_config()["value_range"]) == (0.0, 1.0)
    model.save(tmp_path / "model.keras")
    assert is_known(keras.saving.load_model(tmp_path / "model.keras"))
    folder = presets.save(model, tmp_path / "preset", dataset="noise")
    facts = presets.metadata(folder)
    assert (facts["classes"], facts["image_shape"]) == (NAMES, [*IMAGE_SHAPE])
    loaded = presets.load(folder)
    assert is_known(loaded)
    assert loaded.get_config() == model.get_config()
    assert [*presets.load(folder, classes=["red", "blue"]).class_names] == ["red", "blue"]
    with pytest.raises(presets.PresetError, match=r"`classes` must be the model's own: .*'cat'.* Received: .*'b'"):
        presets.save(model, tmp_path / "other", dataset="noise", classes=["a", "b", "c", "d"])


def test_presets_from_before_tell_it_by_their_metadata():
    model = presets.load("xs_coda_digits", load_weights=False)
    assert [*model.class_names] == [str(digit) for digit in range(10)]
    assert tuple(model.image_size) == (16, 16)


def test_targets_by_name(model, images):
    want = model.explain(images, [[1, 2], [0, 1]])
    got = model.explain(images, [["cat", "dog"], ["bird", "cat"]])
    np.testing.assert_array_equal(got.targets, want.targets)
    np.testing.assert_array_equal(got.weights, want.weights)
    np.testing.assert_array_equal(model.explain(images, "cat").targets, [1, 1])
    assert model.explain(images, "all").weights.shape[1] == CLASSES
    gradient = Gradient(model)
    np.testing.assert_array_equal(gradient(images, "cat"), gradient(images, 1))
    np.testing.assert_array_equal(gradient.maps(images, "cat"), gradient.maps(images, 1))
    with pytest.raises(ValueError, match=r"`target` must name one of \['bird', 'cat', .*Received: \['horse'\]"):
        model.explain(images, "horse")
    with pytest.raises(ValueError, match=r"where the model has `class_names`. Expected: integers. Received: 'cat'"):
        small_coda_net().explain(images, "cat")


def titles(figure):
    return [title for ax in figure.axes if (title := ax.get_title().split("\n")[0])]


def test_galleries_say_the_names_by_themselves(model, images):
    explanation = model.explain(images, [[1, 2], [0, 1]])
    gallery = functools.partial(plots.plot_explanation_gallery, images, data_format=model.data_format)
    assert [*explanation.class_names] == [*explanation[:1].class_names] == NAMES
    assert titles(gallery(explanation)) == ["cat", "dog", "bird", "cat"]
    assert titles(gallery(explanation, list("abcd"))) == ["b", "c", "a", "b"]
    assert titles(plots.plot_explanation_gallery(images[1:], explanation[1], data_format="channels_last")) == [
        "bird",
        "cat",
    ]
    # An inner layer has no classes, and other models have no names.
    assert model.explain(images, layer="dau_1", target=(0, 0, 0)).class_names is None
    unnamed = small_coda_net().explain(images, [[1], [0]])
    assert unnamed.class_names is None
    assert all(isinstance(value, np.ndarray) for value in vars(unnamed).values())
    assert titles(gallery(unnamed)) == ["class 1", "class 0"]


def test_images_of_another_size_are_warned_about(model, images):
    larger = np.tile(images, (1, 2, 1, 1))
    message = r"was trained on images of 5 x 6 pixels. Received: 10 x 6. .* grow with the area"
    for call in (model, model.explain):
        with pytest.warns(UserWarning, match=message):
            call(larger)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model(images)
        model.explain(images)
        unknown = small_coda_net(image_shape=SHAPE)
        assert unknown.image_size is None
        unknown(larger)
    assert tuple(small_coda_net(image_shape=IMAGE_SHAPE).image_size) == IMAGE_SHAPE[:2]
    first = small_coda_net(image_shape=(3, 5, 6), data_format="channels_first")
    assert tuple(first.image_size) == (5, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": ["a", "b"]}, r"`class_names` must be 4 different strings, .* Received: \['a', 'b'\]"),
        ({"class_names": ["a", "b", "c", "a"]}, "must be 4 different strings"),
        ({"class_names": "abcd"}, "must be 4 different strings, .* Received: 'abcd'"),
        ({"class_names": [0, 1, 2, 3]}, "must be 4 different strings"),
        ({"image_size": (0, 3)}, r"`image_size` must be a positive integer or two of them. Received: \(0, 3\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_coda_net(**arguments)


def test_another_range_of_values_is_refused():
    config = {**small_coda_net().get_config(), "value_range": [0, 255]}
    with pytest.raises(ValueError, match=r"`value_range` must be \(0.0, 1.0\). Received: \(0, 255\)"):
        CoDANet.from_config(config)
