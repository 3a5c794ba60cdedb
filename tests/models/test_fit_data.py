"""`fit` with the data and callbacks that users of Keras have."""

import csv
import importlib.util

import keras
import numpy as np
import pytest
from PIL import Image
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

import keras_coda
from keras_coda import OneVsRestCrossentropy, attributions, callbacks, metrics

SIZE = {"filters": [2, CLASSES], "kernel_sizes": [3, 1], "ranks": [2, 2], "strides": [2, 1]}


@pytest.fixture(scope="module")
def colours():
    rng = np.random.default_rng(0)
    labels = np.arange(16) % CLASSES
    images = rng.integers(0, 50, (16, *IMAGE_SHAPE)).astype("uint8")
    images += np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [100, 100, 100]], "uint8")[labels, None, None]
    return images, labels


@pytest.fixture(scope="module")
def model():
    return compiled(small_coda_net(**SIZE, image_shape=(None, None, 3)))


def compiled(model):
    model.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy(), metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def want(model, colours):
    """The loss, by arrays; the learning rate is 0, so that all that follows must have the same."""
    return model.evaluate(*colours, batch_size=8, verbose=0, return_dict=True)["loss"]


def tf_data(images, labels):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


def data_loader(images, labels):
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)), batch_size=8
    )


def py_dataset(images, labels):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            return images[8 * number : 8 * number + 8], labels[8 * number : 8 * number + 8]

    return Batches()


@pytest.mark.parametrize("make", [tf_data, data_loader, py_dataset])
def test_batches_of_every_kind(model, colours, want, make):
    batches = make(*colours)
    history = model.fit(batches, validation_data=batches, shuffle=False, verbose=0).history
    np.testing.assert_allclose([history["loss"], history["val_loss"]], want, rtol=1e-5)


def test_a_folder_by_keras(model, colours, want, tmp_path):
    pytest.importorskip("tensorflow")
    images, labels = colours
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(label) / f"{number}.png")
    batches = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=IMAGE_SHAPE[:2], batch_size=8, verbose=False
    )
    # Floats in 0..255, which a `Rescaling` brings to [0, 1]; without it they are refused.
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        model.fit(batches, verbose=0)
    history = model.fit(batches.map(lambda x, y: (x / 255, y)), verbose=0).history
    np.testing.assert_allclose(history["loss"], want, rtol=1e-5)


def test_class_weight_is_a_weight_of_each_image(model, colours):
    images, labels = colours
    weights = np.array([0.5, 1, 2, 4])
    loss = model.fit(images, labels, 16, class_weight=dict(enumerate(weights)), shuffle=False, verbose=0).history[
        "loss"
    ]
    logits = model.predict(images, verbose=0)
    of_images = OneVsRestCrossentropy(reduction="none")(labels, logits)
    np.testing.assert_allclose(loss, np.mean(weights[labels] * keras.ops.convert_to_numpy(of_images)), rtol=1e-5)


def test_the_usual_callbacks_and_our_own(colours, tmp_path):
    images, labels = colours
    model = compiled(small_coda_net(**SIZE, image_shape=(None, None, 3)))
    model.optimizer.learning_rate = 0.1
    curve = callbacks.Localisation(images, labels, size=2, count=3)
    best = tmp_path / "best.keras"
    used = [
        curve,
        keras.callbacks.ModelCheckpoint(best, monitor="localisation", mode="max", save_best_only=True),
        keras.callbacks.EarlyStopping("val_loss", mode="max", patience=1, start_from_epoch=1),
        keras.callbacks.ReduceLROnPlateau("val_loss", mode="max", patience=0, factor=0.1),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.Maps(images[:2], labels[:2], [str(i) for i in range(CLASSES)], tmp_path / "maps"),
    ]
    if importlib.util.find_spec("tensorboard") and importlib.util.find_spec("tensorflow"):
        used.append(keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False))
    history = model.fit(
        images, labels, 8, epochs=9, validation_data=(images, labels), callbacks=used, verbose=0
    ).history
    epochs = len(history["loss"])
    assert epochs < 9  # a loss that is to grow does not
    assert history["learning_rate"][-1] < 0.1
    assert {"epoch_00000.png", "epoch_00001.png"} <= {path.name for path in (tmp_path / "maps").iterdir()}
    assert (tmp_path / "maps.webp").is_file()
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["localisation"]) for row in rows], history["localisation"])
    if any(isinstance(callback, keras.callbacks.TensorBoard) for callback in used):
        import tensorflow as tf

        [log] = (tmp_path / "board" / "validation").iterdir()
        values = [value for event in tf.compat.v1.train.summary_iterator(str(log)) for value in event.summary.value]
        losses = [float(tf.make_ndarray(value.tensor)) for value in values if value.tag == "epoch_loss"]
        np.testing.assert_allclose(losses, history["val_loss"], rtol=1e-5)
    # The figure, on the grids that the callback drew, by the public functions.
    maps = attributions.Contributions(model).maps(curve._grids, curve._targets)
    assert metrics.localisation(maps, 2).mean() == pytest.approx(history["localisation"][-1], rel=1e-4)
    kept = keras.saving.load_model(best)
    maps = attributions.Contributions(kept).maps(curve._grids, curve._targets)
    assert metrics.localisation(maps, 2).mean() == pytest.approx(max(history["localisation"]), rel=1e-4)


def test_grids_of_the_curve_have_each_class_once(colours):
    images, labels = colours
    curve = callbacks.Localisation(images, labels, size=2, count=5)
    assert all(len({*cells}) == 4 for cells in curve._targets)
    with pytest.raises(ValueError, match="a class for each of the size x size cells"):
        callbacks.Localisation(images, labels, size=3)
    assert keras_coda.callbacks is callbacks
    same, other = (callbacks.Localisation(images, labels, size=2, count=5, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(same._images, curve._images)
    assert not np.array_equal(other._targets, curve._targets)
    assert len(np.unique(curve._images, axis=0)) > CLASSES  # not the same image of a class each time


@pytest.mark.one_backend
def test_the_curve_is_measured_in_some_epochs(colours):
    curve = callbacks.Localisation(*colours, count=2, every=2)
    model = compiled(small_coda_net(**SIZE, image_shape=(None, None, 3)))
    model.optimizer.learning_rate = 0.1  # so that no two measurements are equal
    first, *others = model.fit(*colours, epochs=5, callbacks=[curve], verbose=0).history["localisation"]
    assert len({first, *others}) == 3
    assert (others[0], others[2]) == (others[1], others[3])


def test_maps_are_of_one_training(colours, tmp_path):
    images, labels = colours

    def pictures(epochs, stops_after=None, **settings):
        model = compiled(small_coda_net(**SIZE))
        model.optimizer.learning_rate = 1.0  # so that no two pictures are equal
        maps = callbacks.Maps(images[:1], labels[:1], [str(i) for i in range(CLASSES)], tmp_path / "cats")

        def stop(epoch, logs):
            model.stop_training = epoch + 1 == stops_after

        callback = keras.callbacks.LambdaCallback(on_epoch_end=stop)
        model.fit(images, labels, 16, epochs=epochs, callbacks=[maps, callback], verbose=0, **settings)
        with Image.open(tmp_path / "cats.webp") as animation:
            frames = animation.n_frames
        names = sorted(path.stem[-1] for path in (tmp_path / "cats").iterdir())
        assert frames == len(names)
        return names

    assert pictures(5) == ["0", "1", "2", "4", "5"]
    assert pictures(2) == ["0", "1", "2"]
    assert pictures(9, stops_after=3) == ["0", "1", "2", "3"]
    assert pictures(4, initial_epoch=2) == ["0", "1", "2", "4"]  # resumed


def test_maps_of_a_network_with_channels_first(colours, tmp_path):
    images, labels = np.moveaxis(colours[0], -1, 1), colours[1]
    model = compiled(small_coda_net(**SIZE, image_shape=(3, *IMAGE_SHAPE[:2]), data_format="channels_first"))
    maps = callbacks.Maps(images[:1], labels[:1], [str(i) for i in range(CLASSES)], tmp_path / "maps")
    model.fit(images, labels, epochs=1, callbacks=[maps], verbose=0)
    assert len([*(tmp_path / "maps").iterdir()]) == 2


def test_localisation_needs_a_label_for_each_image(colours):
    for labels in (colours[1][:5], np.eye(CLASSES)[colours[1]], np.array(["a"] * 16)):
        with pytest.raises(ValueError, match="one integer label for each of 16 images"):
            callbacks.Localisation(colours[0], labels)
