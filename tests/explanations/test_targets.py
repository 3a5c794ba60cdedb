"""Targets as users say them."""

import numpy as np
import pytest

from keras_coda.explanations.targets import PREDICTED, to_flat_indices


@pytest.mark.parametrize(
    ("target", "shape", "indices", "several"),
    [
        (None, (5,), [[PREDICTED]] * 2, False),
        (None, (4, 4, 2), [[PREDICTED]] * 2, False),
        (3, (5,), [[3], [3]], False),
        (np.int64(3), (5,), [[3], [3]], False),
        ([3, 0], (5,), [[3], [0]], False),
        (np.array([3, 0], "uint8"), (5,), [[3], [0]], False),
        ([[3, 0, 1], [4, 2, 2]], (5,), [[3, 0, 1], [4, 2, 2]], True),
        ([[3], [4]], (5,), [[3], [4]], True),
        ("all", (3,), [[0, 1, 2]] * 2, True),
        ("all", (2, 2), [[0, 1, 2, 3]] * 2, True),
        ((1, 2), (3, 4), [[6], [6]], False),
        ((1, 2, 3), (2, 3, 4), [[23], [23]], False),
        ([(1, 2, 3), (0, 1, 0)], (2, 3, 4), [[23], [4]], False),
        ([[(1, 2, 3), (0, 1, 0)]] * 2, (2, 3, 4), [[23, 4]] * 2, True),
    ],
)
def test_flat_indices(target, shape, indices, several):
    got, got_several = to_flat_indices(target, 2, shape)
    assert got.dtype == "int32"
    assert got.tolist() == indices
    assert got_several is several


@pytest.mark.parametrize(
    ("target", "shape", "message"),
    [
        ("top", (5,), "`target` must be None, \"all\" or integers. Received: 'top'"),
        (1.0, (5,), 'must be None, "all" or integers. Received: an array of float64'),
        ([True, False], (5,), 'must be None, "all" or integers. Received: an array of bool'),
        (5, (5,), "out of range: expected indices from 0 to 4. Received: 5"),
        (-1, (5,), "out of range: expected indices from 0 to 4. Received: -1"),
        ([[0, 1], [2, 7]], (5,), "out of range: expected indices from 0 to 4. Received: 7"),
        ((1, 3, 0), (2, 3, 4), r"out of range: expected indices from 0 to \(1, 2, 3\). Received: \(1, 3, 0\)"),
        ([0, 1, 2], (5,), r"one class .* for each of the 2 images.* Received: an array of shape \(3,\)"),
        ([[0, 1]], (5,), r"one class .* of outputs of shape \(5,\). Received: an array of shape \(1, 2\)"),
        ([], (5,), r"Received: an array of (float64|shape \(0,\))"),
        (np.zeros((2, 0), int), (5,), r"Received: an array of shape \(2, 0\)"),
        (np.zeros((2, 1, 1), int), (5,), r"Received: an array of shape \(2, 1, 1\)"),
        (0, (2, 3, 4), r"3 indices for all images.* of outputs of shape \(2, 3, 4\). Received: an array of shape \(\)"),
        ((0, 1), (2, 3, 4), r"3 indices .* of outputs of shape \(2, 3, 4\). Received: an array of shape \(2,\)"),
    ],
)
def test_errors(target, shape, message):
    with pytest.raises(ValueError, match=message):
        to_flat_indices(target, 2, shape)
