"""The look at the first images that go into a model, and that nothing is lost by it."""

import functools
import re
import tracemalloc

import keras
import numpy as np
import pytest
from small_models import CLASSES, copy, small_coda_net

from keras_coda import OneVsRestCrossentropy
from keras_coda.layers.unit_range import check_unit_range
from keras_coda.models import image_model

BATCHES, BATCH = 3, 2


@pytest.fixture(scope="module")
def model():
    # Small steps of training: the tests compare losses, and do so with the same weights.
    model = small_coda_net(filters=[CLASSES], kernel_sizes=[3], ranks=[2], strides=[2])
    model.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    return model


@pytest.fixture(scope="module")
def plain(model):
    """The same network as a model of Keras' own."""
    plain = keras.Model(model.input, model.output)
    plain.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    return plain


@pytest.fixture(scope="module")
def eager(model):
    """The same network, and that as a model of Keras' own, both without compiled graphs, which take long to make."""
    networks = copy(model), keras.Model(model.input, model.output)
    for network in networks:
        network.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy(), run_eagerly=True)
    return networks


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


def test_a_validation_generator_loses_no_batch(model, plain, data):
    """Its losses, which depend on how far it was drawn from, are as with any Keras model."""

    def validate(model):
        def endless():
            while True:
                yield from batches(*data)

        history = model.fit(*data, epochs=4, validation_data=endless(), validation_steps=2, verbose=0)
        return history.history["val_loss"]

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


class Counted:
    """A source of batches that notes what is drawn from it, and goes on where it was left, as a stream does."""

    def __init__(self, images, labels):
        self.images, self.labels, self.drawn = images, labels, []

    def __call__(self):
        for number in range(BATCHES - len(self.drawn) % BATCHES):
            self.drawn.append(number)
            part = slice(number * BATCH, (number + 1) * BATCH)
            yield self.images[part], self.labels[part]


def counted_dataset(counted):
    class Noting(Dataset):
        def __getitem__(self, index):
            counted.drawn.append(index)
            return super().__getitem__(index)

        def on_epoch_begin(self):
            counted.drawn.append("begin")

        def on_epoch_end(self):
            counted.drawn.append("end")

    return Noting(counted.images, counted.labels)


def counted_tf_dataset(counted):
    tf = pytest.importorskip("tensorflow")
    signature = (tf.TensorSpec((None, *counted.images.shape[1:])), tf.TensorSpec((None,), "int64"))
    return tf.data.Dataset.from_generator(counted, output_signature=signature)


def counted_loader(counted):
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return ((torch.tensor(x), torch.tensor(y)) for x, y in counted())

    return torch.utils.data.DataLoader(Stream(), batch_size=None)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize(
    "make", [counted_dataset, counted_tf_dataset, counted_loader, lambda counted: counted()], ids=lambda f: f.__name__
)
def test_as_much_is_drawn_as_keras_draws(eager, data, make, method):
    drawn = []
    for one in eager:
        # The first time Keras draws a batch more, to build the loss.
        one.train_on_batch(*data)
        counted = Counted(*data)
        result = getattr(one, method)(make(counted), verbose=0)
        drawn.append((counted.drawn, np.shape(result) if method == "predict" else None))
    # Keras shuffles the batches of a `PyDataset`.
    assert sorted(map(str, drawn[0][0])) == sorted(map(str, drawn[1][0]))
    assert drawn[0][1] == drawn[1][1]
    assert drawn[0][0]


@pytest.mark.one_backend
def test_a_dataset_keeps_its_workers(data):
    dataset = Dataset(*data)
    dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size = 3, True, 5
    checked = image_model._CheckedDataset(dataset, None)
    assert (checked.workers, checked.use_multiprocessing, checked.max_queue_size) == (3, True, 5)


def test_the_order_of_a_shuffled_loader_is_as_with_keras(eager, data):
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*map(torch.tensor, data)), 1, shuffle=True)
    outputs = []
    for one in eager:
        torch.manual_seed(0)
        outputs.append(one.predict(loader, verbose=0))
    np.testing.assert_allclose(*outputs, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_the_check_makes_no_copy(dtype):
    images = np.ones((64, 64, 64, 3), dtype)
    tracemalloc.start()
    check_unit_range(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 10


@pytest.mark.parametrize("make", [lambda *arrays: arrays, *DATASETS])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_labels_that_are_no_classes(eager, data, method, make):
    model = eager[0]
    for wrong in (CLASSES, -1):
        labels = data[1].copy()
        labels[::BATCH] = wrong  # one in each batch, of which Keras may draw any first
        source = make(data[0], labels)
        arguments = source if isinstance(source, tuple) else (source,)
        with pytest.raises(ValueError, match=rf"Labels must be in 0..{CLASSES - 1}, .* Received: labels from"):
            getattr(model, method)(*arguments, verbose=0)


def test_labels_that_are_not_there(model, data):
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"Labels must be in .* Received: None"):
            call(data[0])


def test_labels_that_are_no_numbers(model, data):
    names = np.array(["cat"] * len(data[0]))
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"Labels must be in .* Received: an array of <U3"):
            call(data[0], names)
    with pytest.raises(ValueError, match=r"Labels must be in .* Received: an array of <U3"):
        model.fit(*data, validation_data=(data[0], names), verbose=0)


# A CoDA-Net in another model, which casts integer images to floats before the network sees them.

WRAPPERS = {
    "wrapped": lambda model: keras.Model(inputs := keras.Input(model.input_shape[1:]), model(inputs)),
    "sequential": lambda model: keras.Sequential([keras.Input(model.input_shape[1:]), model]),
    "cloned": keras.models.clone_model,
    "a part": lambda model: keras.Model(model.input, model.output),
}


@pytest.mark.parametrize("form", WRAPPERS)
def test_integer_images_are_never_taken_for_floats(model, data, form):
    """Scaled where they come as integers; else an error, or, in a compiled graph, NaN."""
    wrapped = WRAPPERS[form](model)
    wrapped.compile(keras.optimizers.SGD(0.0), OneVsRestCrossentropy())
    integers = np.round(255 * data[0]).astype("uint8")
    for method, arguments in (("predict", ()), ("evaluate", data[1:]), ("fit", data[1:])):
        call = functools.partial(getattr(wrapped, method), integers, *arguments, verbose=0)
        if keras.backend.backend() == "torch":
            with pytest.raises(ValueError, match=r"Images must be floats in \[0, 1\], or integers in 0..255"):
                call()
        else:
            result = call()
            assert np.isnan(result.history["loss"] if method == "fit" else result).all()


def test_integer_images_in_a_model_with_integer_inputs(model, data):
    inputs = keras.Input(model.input_shape[1:], dtype="uint8")
    wrapped = keras.Model(inputs, model(inputs))
    integers = np.round(255 * data[0]).astype("uint8")
    want = model.predict(integers, verbose=0)
    np.testing.assert_allclose(wrapped.predict(integers, verbose=0), want, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 6, 1), (2, 5, 6, 4), (5, 6, 3)])
@pytest.mark.parametrize("method", ["predict", "fit", "evaluate", "predict_on_batch"])
def test_images_of_other_shapes_leave_the_model_as_it_was(shape, method):
    """Also once its programs are compiled."""
    model = small_coda_net()
    model.compile("sgd", OneVsRestCrossentropy())
    images, labels = np.full((2, 5, 6, 3), 0.5, "float32"), np.array([0, 1])
    model.fit(images, labels, verbose=0)
    before = model.predict(images, verbose=0)
    wrong = np.full(shape, 0.5, "float32")
    arguments = (wrong, labels) if method in ("fit", "evaluate") else (wrong,)
    with pytest.raises(ValueError, match=rf"takes inputs of shape .*Received: shape {re.escape(str(shape))}"):
        getattr(model, method)(*arguments)
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)


def test_a_validation_data_set_in_another_range_leaves_what_was_trained(model, data):
    """On JAX the arrays from before the training are gone by then."""
    trained = copy(model)
    trained.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy())
    trained.fit(*data, batch_size=BATCH, shuffle=False, verbose=0)
    other = copy(model)
    other.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy())
    with pytest.raises(ValueError, match="Received: float32 images"):
        other.fit(*data, batch_size=BATCH, shuffle=False, verbose=0, validation_data=Dataset(255 * data[0], data[1]))
    for got, want in zip(other.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
