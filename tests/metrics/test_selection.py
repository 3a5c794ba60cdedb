import itertools

import keras
import numpy as np
import pytest
from colour_model import colour_images, colour_model

from keras_coda import attributions, data, metrics


class Batches(keras.utils.PyDataset):
    """Batches of two of five images."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        numbers = np.arange(5)[2 * number : 2 * number + 2]
        return np.ones((len(numbers), 4, 4, 1)) * numbers.reshape(-1, 1, 1, 1), numbers


class TestCollect:
    @pytest.mark.parametrize(
        "make", [Batches, lambda: map(Batches().__getitem__, range(3))], ids=["PyDataset", "iterable"]
    )
    @pytest.mark.parametrize("limit", [None, 3, 99])
    def test_takes_batches_in_order(self, make, limit):
        images, labels = metrics.collect(make(), limit)
        np.testing.assert_array_equal(labels, np.arange(5)[:limit])
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)

    def test_takes_tensors(self):
        batch = keras.ops.ones((2, 4, 4, 1)), keras.ops.convert_to_tensor([1, 2])
        images, labels = metrics.collect([batch, batch])
        assert isinstance(images, np.ndarray)
        np.testing.assert_array_equal(labels, [1, 2, 1, 2])

    def test_takes_the_test_part_of_a_dataset(self):
        x_test, y_test = np.zeros((3, 4, 4, 1)), np.arange(3)
        dataset = data.Dataset(np.ones((5, 4, 4, 1)), np.ones(5), x_test, y_test, ["a", "b", "c"])
        images, labels = metrics.collect(dataset, limit=2)
        np.testing.assert_array_equal(images, x_test[:2])
        np.testing.assert_array_equal(labels, [0, 1])

    def test_takes_no_more_batches_than_needed(self):
        numbers = itertools.count()
        forever = ((np.zeros((2, 4, 4, 1)), np.full(2, number)) for number in numbers)
        np.testing.assert_array_equal(metrics.collect(forever, limit=4)[1], [0, 0, 1, 1])
        assert next(numbers) == 2

    @pytest.mark.parametrize("batches", [[], [np.zeros((2, 4, 4, 1))]], ids=["none", "no labels"])
    def test_refuses(self, batches):
        with pytest.raises(ValueError, match=r"Expected batches \(images, labels\)"):
            metrics.collect(batches)


class TestMostConfident:
    def test_takes_correct_and_confident_ones_in_order(self):
        # The probability of the bright channel of 4 is e^v / (e^v + 3): .475, .881, .711, .948, .881.
        images = colour_images([0, 1, 2, 3, 1], [1.0, 3.1, 2.0, 4.0, 3.1])
        labels = [0, 1, 2, 0, 1]
        np.testing.assert_array_equal(metrics.most_confident(colour_model(), images, labels), [1, 4, 2])
        np.testing.assert_array_equal(metrics.most_confident(colour_model(), images, labels, confidence=0.8), [1, 4])
        np.testing.assert_array_equal(
            metrics.most_confident(colour_model(), images, labels, confidence=0), [1, 4, 2, 0]
        )

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_tells_confident_ones_apart_whose_probability_is_1(self, activation):
        values = np.array([20.0, 40.0, 30.0, 60.0])
        classifier = attributions.Classifier(colour_model(), activation=activation)
        images = colour_images([0, 1, 2, 0], values)
        np.testing.assert_array_equal(classifier.probabilities(classifier.outputs(images)).max(-1), 1)
        np.testing.assert_array_equal(metrics.most_confident(classifier, images, [0, 1, 2, 0]), np.argsort(-values))
        assert len(metrics.most_confident(classifier, images, [0, 1, 2, 0], confidence=1.0)) == 0  # not exceeded

    def test_a_softmax_orders_by_log_odds(self):
        images = colour_images([0, 1], [10.0, 5.0])
        images[0, ..., 2] = 9.0  # a rival, so that the larger logit has the smaller probability
        np.testing.assert_array_equal(metrics.most_confident(colour_model(), images, [0, 1]), [1, 0])

    def test_equally_confident_ones_keep_their_order(self):
        labels, values = np.arange(200) % 4, np.where(np.arange(200) % 2, 3.0, 4.0)
        chosen = metrics.most_confident(colour_model(), colour_images(labels, values), labels)
        np.testing.assert_array_equal(chosen, [*range(0, 200, 2), *range(1, 200, 2)])

    def test_takes_labels_as_a_column(self):
        images = colour_images([0, 1], [3.0, 4.0])
        np.testing.assert_array_equal(metrics.most_confident(colour_model(), images, [[0], [1]]), [1, 0])

    def test_goes_through_more_images_than_it_encodes_at_once(self, rng):
        labels, values = rng.integers(4, size=70), rng.uniform(3, 4, 70)
        chosen = metrics.most_confident(colour_model(), colour_images(labels, values), labels, batch_size=1)
        np.testing.assert_array_equal(chosen, np.argsort(-values))

    @pytest.mark.parametrize(
        ("labels", "error"),
        [
            ([0, 1], "one integer label for each of 3 images"),
            ([0.0, 1.0, 2.0], "an array of float64"),
            (np.eye(4, dtype=int)[:3], r"shape \(3, 4\)"),
            ([0, 1, 4], "0..3"),
            ([0, 1, -1], "0..3"),
        ],
    )
    def test_refuses_labels(self, labels, error):
        with pytest.raises(ValueError, match=error):
            metrics.most_confident(colour_model(), colour_images([0, 1, 2], [3.0, 3.0, 3.0]), labels)
