"""Maps and localisation over a training, for data and networks of other kinds."""

import types

import keras
import numpy as np
import pytest
from PIL import Image
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

from keras_coda import CoDANet, callbacks
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.training.logs import Table, first_of_each_class
from keras_coda.videos import write_animation

NAMES = [str(number) for number in range(CLASSES)]


def fit(model, images, labels, callback, **settings):
    model.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy())
    model.fit(images, labels, 4, callbacks=[callback], verbose=0, **settings)


@pytest.mark.one_backend
def test_maps_of_a_network_of_one_class(rng, tmp_path):
    """Its labels are targets, 1 for yes and 0 for no."""
    images, labels = rng.random((4, *IMAGE_SHAPE), "float32"), np.array([0, 1, 1, 0])
    model = CoDANet([1], [1], [2], [1], 1.0, image_shape=IMAGE_SHAPE, data_format="channels_last")
    fit(model, images, labels, callbacks.Maps(images[:2], labels[:2], ["cat"], tmp_path / "maps"), epochs=1)
    assert len([*(tmp_path / "maps").iterdir()]) == 2


def test_labels_of_maps_may_be_a_column(rng, tmp_path):
    """Those of `keras.datasets.cifar10` are."""
    images, labels = rng.random((4, *IMAGE_SHAPE), "float32"), np.arange(4)[::-1] % CLASSES
    model, drawn = small_coda_net(), []
    weights = model.get_weights()
    for name, of_images in (("flat", labels), ("column", labels[:, np.newaxis])):
        maps = callbacks.Maps(images[:2], of_images[:2], NAMES, tmp_path / name)
        model.set_weights(weights)
        fit(model, images, of_images, maps, epochs=1)
        drawn.append((tmp_path / name / "epoch_00000.png").read_bytes())
    assert drawn[0] == drawn[1]
    with pytest.raises(ValueError, match="one integer label for each of 2 images"):
        fit(small_coda_net(), images, labels, callbacks.Maps(images[:2], labels, NAMES, tmp_path / "more"), epochs=1)


@pytest.mark.one_backend
def test_a_training_resumed_with_other_images_ends_with_an_animation_of_these(rng, tmp_path):
    images, labels = rng.random((4, *IMAGE_SHAPE), "float32"), np.arange(4) % CLASSES
    for count, settings in ((2, {"epochs": 2}), (1, {"epochs": 4, "initial_epoch": 2})):
        maps = callbacks.Maps(images[:count], labels[:count], NAMES, tmp_path / "maps")
        fit(small_coda_net(seed=0), images, labels, maps, **settings)
    with Image.open(tmp_path / "maps.webp") as animation, Image.open(tmp_path / "maps" / "epoch_00004.png") as last:
        assert (animation.size, animation.n_frames) == (last.size, 1)


@pytest.mark.one_backend
def test_pictures_of_another_training_are_replaced_and_those_of_this_one_stay(rng, tmp_path):
    images, labels = rng.random((4, *IMAGE_SHAPE), "float32"), np.arange(4) % CLASSES
    folder = tmp_path / "maps"
    folder.mkdir()
    written = []
    for settings in ({"epochs": 1}, {"epochs": 2, "initial_epoch": 1}):
        if not written:
            (folder / "epoch_00000.png").write_bytes(b"former")
        (folder / "epoch_00007.png").write_bytes(b"former")
        fit(small_coda_net(), images, labels, callbacks.Maps(images[:1], labels[:1], NAMES, folder), **settings)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert [sorted(files) for files in written] == [[f"epoch_0000{n}.png" for n in range(count)] for count in (2, 3)]
    assert written[0].items() < written[1].items()
    assert b"former" not in written[0].values()


@pytest.mark.one_backend
def test_a_table_has_the_columns_of_all_rows(tmp_path):
    state = types.SimpleNamespace(history=[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "localisation": 1.0}])
    Table(state, tmp_path / "training.csv").on_epoch_end(1)
    assert (tmp_path / "training.csv").read_text() == "epoch,loss,localisation\n1,0.5,\n2,0.25,1.0\n"


@pytest.mark.one_backend
def test_the_first_images_of_each_class_in_their_order():
    labels = np.array([3, 3, 0, 2, 0, 1])
    assert [*first_of_each_class(labels)] == [0, 2, 3, 5]


@pytest.mark.one_backend
def test_an_animation_that_fails_leaves_the_former_one(tmp_path):
    path = tmp_path / "maps.webp"
    path.write_bytes(b"former")
    with pytest.raises(RuntimeError, match="frame"):
        write_animation(path, [np.zeros((size, 4, 3), "uint8") for size in (4, 5)], 2.5)
    assert path.read_bytes() == b"former"
    assert [*tmp_path.iterdir()] == [path]


def test_localisation_refuses_a_model_of_images_of_another_size_before_it_trains(rng):
    images, labels = rng.random((8, *IMAGE_SHAPE), "float32"), np.arange(8) % CLASSES
    model = small_coda_net()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"Received: shape \(2, 10, 12, 3\)"):
        fit(model, images, labels, callbacks.Localisation(images, labels, count=2), epochs=1)
    for weights, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, former)


def test_localisation_takes_tensors(rng):
    images, labels = rng.random((8, *IMAGE_SHAPE), "float32"), np.arange(8) % CLASSES
    curve, same = (
        callbacks.Localisation(x, y, count=2)
        for x, y in ((images, labels), (keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)))
    )
    np.testing.assert_array_equal(same._images, curve._images)
