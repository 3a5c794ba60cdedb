"""The order of images in training, and their random augmentation."""

import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_coda import backend
from keras_coda.data import Augmentation, Batches

AUGMENTATION = Augmentation(flip=True, crop_padding=2)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (22, 6, 6, 3), "uint8")


def augmented(images, epoch, processes=1, seed=0, augmentation=AUGMENTATION):
    """The images of an epoch in the order of the data, joined from the parts of all processes."""
    found = {}
    for index in range(processes):
        part = Batches(images, np.arange(22), 6, processes, (index, processes), seed, augmentation)
        part.shuffle(epoch)
        for number in range(len(part)):
            chosen, labels, weights = part[number]
            found.update((label, image) for label, image, weight in zip(labels, chosen, weights, strict=True) if weight)
    return np.stack([found[label] for label in range(22)])


@pytest.mark.parametrize("processes", [2, 3])
def test_an_image_changes_as_on_one_device(images, processes):
    np.testing.assert_array_equal(augmented(images, 4, processes), augmented(images, 4))


def test_an_epoch_changes_images_in_the_same_way_again(images):
    first = augmented(images, 0)
    assert (first != images).any((1, 2, 3)).sum() > 15
    np.testing.assert_array_equal(first, augmented(images, 0))


@pytest.mark.parametrize("processes", [2, 3])
def test_rand_augment_is_as_on_one_device(images, processes):
    """Independent of the timing of the threads, and different in each epoch."""
    augmentation = Augmentation(True, 2, {"num_ops": 2, "magnitude": 10})
    one = augmented(images, 4, augmentation=augmentation)
    np.testing.assert_array_equal(augmented(images, 4, processes, augmentation=augmentation), one)
    assert (augmented(images, 5, augmentation=augmentation) != one).any((1, 2, 3)).sum() > 15


def test_batches_epochs_and_seeds_do_not_share_draws():
    """All images are the same picture, so that two batches with the same draws would be equal."""
    pictures = np.tile(np.arange(36, dtype="uint8").reshape(1, 6, 6, 1), (48, 1, 1, 1))
    found = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        batches = Batches(pictures, np.arange(48), 8, 1, seed=seed, augmentation=AUGMENTATION)
        batches.shuffle(epoch)
        found.update(batches[number][0].tobytes() for number in range(6))
    assert len(found) == 18


def test_images_that_fill_the_last_batch_do_not_change_its_mean(images):
    batches = Batches(images[:5], np.arange(5), 4, devices=2)
    first, last = batches[0], batches[1]
    np.testing.assert_array_equal(first[2], [1, 1, 1, 1])
    assert last[1][0] == last[1][1]
    np.testing.assert_array_equal(last[2], [2, 0])


def test_a_batch_does_not_depend_on_those_before(images):
    batches = Batches(images, np.arange(22), 6, 1, augmentation=AUGMENTATION)
    batches.shuffle(3)
    expected = [batches[number] for number in range(4)]
    for order in ([2, 0, 3, 1], [3, 3], [1]):
        again = Batches(images, np.arange(22), 6, 1, augmentation=AUGMENTATION)
        again[0], again.shuffle(1), again[0], again.shuffle(3)
        for number in order:
            for got, want in zip(again[number], expected[number], strict=True):
                np.testing.assert_array_equal(got, want)


class Slow:
    """Images of which some take longer than the next ones."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        time.sleep(0.02 * (indices[0] % 3))
        return self.images[indices]


@pytest.mark.parametrize("form", [lambda batches: batches, backend.input_pipeline], ids=["PyDataset", "pipeline"])
def test_fit_takes_the_batches_of_each_epoch_in_their_order(rng, form):
    """Large steps, with which another order would give other weights; from the third epoch on, as after a resume."""
    x, y = rng.normal(size=(50, 3)).astype("float32"), rng.normal(size=50).astype("float32")
    w, b = np.zeros((3, 1), "float32"), np.zeros(1, "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.2), "mse")
    model.set_weights([w, b])
    batches = Batches(Slow(x), y, 8, 1, seed=7)
    shuffle = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch))
    model.fit(form(batches), epochs=5, initial_epoch=2, shuffle=False, callbacks=[shuffle], verbose=0)

    for epoch in (2, 3, 4):
        order = np.random.default_rng([7, epoch]).permutation(50)
        for start in range(0, 50, 8):
            chosen = order[start : start + 8]
            error = x[chosen] @ w + b - y[chosen, np.newaxis]
            w, b = w - 0.4 * x[chosen].T @ error / len(chosen), b - 0.4 * error.mean(0)
    for got, want in zip(model.get_weights(), (w, b), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others take the PyDataset itself")
def test_no_epoch_waits_for_tensorflows_tuner(images):
    pipeline = backend.input_pipeline(Batches(images, np.arange(22), 6, 1))
    assert pipeline.options().autotune.enabled is False
    assert pipeline.cardinality() == 4
    assert [array.shape for array in pipeline.element_spec] == [(None, 6, 6, 3), (None,), (None,)]


FORKED = """
import io, multiprocessing, os, sys
os.environ["KERAS_BACKEND"] = sys.argv[1]
import numpy as np
from PIL import Image
from keras_coda import backend
from keras_coda.data import Batches
from keras_coda.data.stored_images import StoredImages

class Source:
    def __len__(self):
        return 6
    def __getitems__(self, indices):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (50, 100, 150)).save(file, "png")
        return [{"image": file.getvalue()} for _ in indices]

stored = StoredImages(Source(), 8, 8)
batches = Batches(stored, np.arange(6), 2, 1)
first = batches[0]  # with threads, and batches under way

def work(queue):
    queue.put([batches[1][1].tolist(), stored[:2].sum().item()])

queue = multiprocessing.get_context("fork").Queue()
worker = multiprocessing.get_context("fork").Process(target=work, args=(queue,), daemon=True)
worker.start()
assert queue.get(timeout=60) == [batches[1][1].tolist(), stored[:2].sum().item()]
import pickle
again = pickle.loads(pickle.dumps(Batches(np.arange(6.0), np.arange(6), 2, 1)))
assert again[1][1].tolist() == batches[1][1].tolist()
"""


@pytest.mark.filterwarnings("ignore")
def test_forked_workers_and_pickled_batches_go_on():
    command = [sys.executable, "-W", "ignore", "-c", FORKED, keras.backend.backend()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_an_error_in_a_thread_is_raised(images):
    gray = Augmentation(rand_augment={"num_ops": 1, "magnitude": 5})
    with pytest.raises(ValueError, match=r"RandAugment takes RGB images.*Received"):
        Batches(images[..., :1], np.arange(22), 6, 1, augmentation=gray)[0]
