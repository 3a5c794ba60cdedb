"""The look at the first images that go into a model, and that nothing is lost by it."""

import keras
import numpy as np
import pytest
from small_models import CLASSES, small_coda_net

from keras_coda import OneVsRestCrossentropy

BATCHES, BATCH = 3, 2


@pytest.fixture(scope="module")
def model():
    # Small steps of training: the tests compare losses, and do so with the same weights.
    model = small_coda_net(filters=[CLASSES], kernel_sizes=[3], ranks=[2], strides=[2])
    model.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    images = rng.random((BATCHES * BATCH, 5, 6, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, len(images))


def batches(images, labels=None):
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        yield (batch,) if labels is None else (batch, labels[start : start + BATCH])


class Dataset(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.batches = list(batches(images, labels))

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def tf_dataset(images, labels):
    return pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)


def torch_loader(images, labels):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(images), torch.tensor(labels))
    return torch.utils.data.DataLoader(data, batch_size=BATCH)


DATASETS = [batches, Dataset, tf_dataset, torch_loader]


def changed(images):
    """Images in other ranges, with what the error says."""
    message = r"floats in \[0, 1\], or integers in 0..255, which are divided by 255. Received: float32 images with "
    with_nan = images.copy()
    with_nan[0, 0, 0, 0] = np.nan
    return [
        (255 * images, message),
        (2 * images - 1, message + "values from -0.9"),
        (with_nan, message + "values from nan"),
    ]


@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]
)
def test_images_in_other_ranges(model, data, method):
    arguments = [] if "predict" in method else [data[1]]
    for images, message in changed(data[0]):
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(images, *arguments)
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(x=images, **dict(zip(["y"], arguments, strict=False)))


def test_a_call_on_values(model, data):
    for images, message in changed(data[0]):
        with pytest.raises(ValueError, match=message):
            model(images)


@pytest.mark.parametrize("make", DATASETS)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_datasets_in_other_ranges(model, data, method, make):
    with pytest.raises(ValueError, match=r"Received: float32 images with values from .* to 25"):
        getattr(model, method)(make(255 * data[0], data[1]), verbose=0)


def test_validation_images_in_other_ranges(model, data):
    with pytest.raises(ValueError, match="Received: float32 images"):
        model.fit(*data, validation_data=(255 * data[0], data[1]), verbose=0)


@pytest.mark.parametrize("make", DATASETS)
def test_datasets_are_used_whole(model, data, make):
    class CountsBatches(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    counter = CountsBatches()
    want = model.evaluate(*data, batch_size=BATCH, verbose=0)
    history = model.fit(make(*data), verbose=0, callbacks=[counter])
    assert counter.batches == BATCHES
    np.testing.assert_allclose(history.history["loss"], [want], rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(make(*data), verbose=0), want, rtol=1e-5)
    want = model.predict(data[0], batch_size=BATCH, verbose=0)
    np.testing.assert_allclose(model.predict(make(*data), verbose=0), want, rtol=1e-5)


def test_a_validation_generator_loses_no_batch(model, data):
    """Its losses, which depend on how far it was drawn from, are as with any Keras model."""

    def validate(model):
        def endless():
            while True:
                yield from batches(*data)

        history = model.fit(*data, epochs=4, validation_data=endless(), validation_steps=2, verbose=0)
        return history.history["val_loss"]

    plain = keras.Model(model.input, model.output)
    plain.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    want = validate(plain)
    got = validate(model)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_integer_images_in_every_form(model, data):
    integers = np.round(255 * data[0]).astype("uint8")
    scaled = integers.astype("float32") / 255
    want = model.predict(scaled, batch_size=BATCH, verbose=0)
    loss = model.evaluate(scaled, data[1], batch_size=BATCH, verbose=0)
    for make in (batches, Dataset):
        np.testing.assert_allclose(model.predict(make(integers, data[1]), verbose=0), want, atol=1e-6)
    np.testing.assert_allclose(model.predict(integers, batch_size=BATCH, verbose=0), want, atol=1e-6)
    np.testing.assert_allclose(model.evaluate(integers, data[1], batch_size=BATCH, verbose=0), loss, rtol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(integers[:BATCH]), want[:BATCH], atol=1e-6)
    history = model.fit(integers, data[1], batch_size=BATCH, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [loss], rtol=1e-5)
