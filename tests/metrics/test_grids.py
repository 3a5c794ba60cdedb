import itertools
import warnings

import hypothesis
import numpy as np
import pytest
from colour_model import CLASSES, colour_images, colour_model
from hypothesis import strategies

from keras_coda import metrics


def images_and_labels(count=40, wrong=8):
    """Images of which the last `wrong` are labelled wrongly; each of another confidence."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % CLASSES
    values = rng.permutation(np.linspace(2, 6, count))
    labels = np.where(np.arange(count) < count - wrong, classes, (classes + 1) % CLASSES)
    return colour_images(classes, values), labels, values


def eight_classes():
    """A model of eight classes, and four images of each that it is right about; each of another confidence."""
    labels, values = np.arange(32) % 8, np.random.default_rng(0).permutation(32)
    images = np.zeros((32, 1, 1, 8), "float32")
    images[np.arange(32), 0, 0, labels] = 4 + values / 8
    return colour_model((None, None, 8), classes=8), images, labels, values


def make_grids(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return metrics.make_grids(*args, **kwargs)


def most_grids(counts, cells):
    """How many grids can be made: always of the classes that have the most images left, which is the best to do."""
    counts, made = np.sort(counts), 0
    while (counts[-cells:] > 0).all():
        counts[-cells:] -= 1
        counts, made = np.sort(counts), made + 1
    return made


class TestMakeGrids:
    @pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
    def test_puts_images_row_by_row(self, data_format):
        images, labels, _ = images_and_labels()
        # Rows and columns that differ, so that a cell that is turned is found out.
        images = images + np.random.default_rng(1).uniform(0, 0.01, images.shape).astype("float32")
        shape = (None, None, CLASSES)
        if data_format == "channels_first":
            images, shape = np.moveaxis(images, -1, 1), (CLASSES, None, None)
        grids = metrics.make_grids(colour_model(shape, data_format), images, labels, size=2, count=5)
        pixels = grids.images if data_format == "channels_last" else np.moveaxis(grids.images, 1, -1)
        singles = images if data_format == "channels_last" else np.moveaxis(images, 1, -1)
        assert pixels.shape == (5, 4, 6, CLASSES)
        assert len(grids) == 5
        for grid in range(5):
            for cell in range(4):
                row, column = divmod(cell, 2)
                single = pixels[grid, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
                np.testing.assert_array_equal(single, singles[grids.indices[grid, cell]])
                assert grids.targets[grid, cell] == labels[grids.indices[grid, cell]]

    def test_takes_the_most_confident_correct_ones_once_each(self):
        images, labels, values = images_and_labels()
        grids = metrics.make_grids(colour_model(), images, labels, size=2, count=3)
        # In 2 x 2 grids of 4 classes each class is in each grid: its three most confident images of those right.
        expected = [np.flatnonzero(labels[:32] == c)[np.argsort(-values[:32][labels[:32] == c])][:3] for c in range(4)]
        np.testing.assert_array_equal(np.sort(grids.indices.ravel()), np.sort(np.concatenate(expected)))

    def test_takes_the_most_confident_ones_of_more_classes_than_cells(self):
        model, images, labels, values = eight_classes()
        grids = metrics.make_grids(model, images, labels, size=2, count=2)
        best, taken = np.argsort(-values), []
        for index in best:  # at most two of a class
            taken += [index] if (labels[taken] == labels[index]).sum() < 2 else []
        np.testing.assert_array_equal(np.sort(grids.indices.ravel()), np.sort(taken[:8]))

    def test_keeps_integer_images(self):
        images, labels, _ = images_and_labels()
        grids = metrics.make_grids(colour_model(scale=0.05), (images * 40).astype("uint8"), labels, size=2, count=1)
        assert grids.images.dtype == "uint8"

    @hypothesis.given(
        labels=strategies.lists(strategies.integers(0, CLASSES), min_size=24, max_size=24),
        seed=strategies.integers(0, 9),
    )
    def test_no_class_twice_and_as_many_as_can_be(self, labels, seed):
        labels = np.array(labels)
        model = colour_model((None, None, CLASSES + 1), classes=CLASSES + 1)
        images = np.zeros((24, 1, 1, CLASSES + 1), "float32")
        images[np.arange(24), 0, 0, labels] = np.linspace(4, 6, 24)
        most = most_grids(np.bincount(labels, minlength=CLASSES + 1), 4)
        if not most:
            with pytest.raises(ValueError, match="No grid"):
                make_grids(model, images, labels, size=2, seed=seed)
            return
        for count in {1, most, 99}:
            grids = make_grids(model, images, labels, size=2, count=count, seed=seed)
            assert len(grids) == min(most, count)
            assert all(len(set(classes)) == 4 for classes in grids.targets)
            assert len(set(grids.indices.ravel())) == 4 * len(grids)
            np.testing.assert_array_equal(grids.targets, labels[grids.indices])

    def test_the_seed_places_images_and_classes(self):
        images, labels, _ = images_and_labels()
        one, same, other = (
            metrics.make_grids(colour_model(), images, labels, size=2, count=5, seed=seed) for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one.indices, same.indices)
        assert set(one.indices.ravel()) == set(other.indices.ravel())
        assert {frozenset(grid) for grid in one.indices} != {frozenset(grid) for grid in other.indices}
        assert (np.ptp(one.targets, axis=0) > 0).all()

    def test_any_classes_may_share_a_grid_and_any_grid_may_be_the_first(self):
        model, images, labels, _ = eight_classes()
        together, of_first_half = set(), set()
        for seed in range(20):
            targets = metrics.make_grids(model, images, labels, size=2, count=8, seed=seed).targets
            together.update(pair for grid in targets for pair in itertools.combinations(sorted(grid), 2))
            of_first_half.add(len({*targets[:4].flat}))
        assert together == {*itertools.combinations(range(8), 2)}
        # In the order of the classes it would be the same four classes that the first four grids have.
        assert max(of_first_half) > 4

    def test_says_how_many_there_are(self):
        images, labels, _ = images_and_labels()
        with pytest.warns(UserWarning, match="Only 8 of 500 grids"):
            grids = metrics.make_grids(colour_model(), images, labels, size=2)
        assert repr(grids) == "Grids(8 of 2 x 2 images, images: (8, 4, 6, 4))"

    @pytest.mark.parametrize(
        ("shape", "arguments", "error"),
        [
            ((None, None, CLASSES), {"size": 3}, r"3 x 3 grids have 9 cells\. .* Received: a model of 4 classes"),
            ((2, 3, CLASSES), {"size": 2}, r"takes images of shape \(None, 2, 3, 4\) only.*of shape \(4, 6, 4\)"),
            ((None, None, CLASSES), {"size": 2, "confidence": 0.999}, "No grid .* Received: 40 images, of which 0"),
            ((None, None, CLASSES), {"size": 1}, "`size` of at least 2"),
            ((None, None, CLASSES), {"size": 2, "count": 0}, "`count` of at least 1"),
        ],
        ids=["classes", "fixed", "confidence", "size", "count"],
    )
    def test_refuses(self, shape, arguments, error):
        images, labels, _ = images_and_labels()
        with pytest.raises(ValueError, match=error):
            metrics.make_grids(colour_model(shape), images, labels, **arguments)
