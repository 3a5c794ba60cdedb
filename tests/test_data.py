"""Data sets."""

import numpy as np
import pytest
from sklearn import datasets

from keras_coda import data


def test_digits_are_sklearns_enlarged_in_two_disjoint_parts():
    (x_train, y_train), (x_test, y_test) = data.load_digits(image_size=8)
    assert x_train.shape == (1437, 8, 8, 1)
    assert x_test.shape == (360, 8, 8, 1)
    assert x_train.dtype == "float32"
    rows = np.concatenate([x_train, x_test]).reshape(1797, -1)
    originals = datasets.load_digits().data / 16.0
    # The same images, in another order, each with its label.
    order, original_order = np.lexsort(rows.T), np.lexsort(originals.T)
    np.testing.assert_allclose(rows[order], originals[original_order], atol=1e-6)
    labels = np.concatenate([y_train, y_test])
    np.testing.assert_array_equal(labels[order], datasets.load_digits().target[original_order])
    # Stratified: as many of each class in a hundred as in the whole.
    np.testing.assert_allclose(np.bincount(y_test) / 360, np.bincount(labels) / 1797, atol=0.002)


def test_enlarged_digits_stay_in_the_unit_range_and_look_the_same():
    (small, labels), _ = data.load_digits(image_size=8)
    (large, same_labels), _ = data.load_digits()
    assert large.shape == (1437, 16, 16, 1)
    assert large.min() >= 0
    assert large.max() <= 1
    np.testing.assert_array_equal(labels, same_labels)
    shrunk = large.reshape(-1, 8, 2, 8, 2, 1).mean(axis=(2, 4))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.98


def test_unknown_data_sets_are_refused_by_name():
    with pytest.raises(ValueError, match=r"No data set 'nonsense'.*digits"):
        data.load("nonsense")
