"""The result of explaining a batch of images."""

import numpy as np

from keras_coda import Explanation


def test_the_relative_residual_is_measured_by_the_logit_or_b0():
    contributions = np.array([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [-1.0, -1.0]], [[1.0, 2.0], [-1.0, 0.0]]])
    contributions = contributions[:, np.newaxis]
    bias, residual = np.array([[-2.0], [-2.0], [-2.0]]), np.array([[0.008], [-0.0004], [0.0004]])
    explanation = Explanation(
        logits=np.array([[8.008], [-2.0004], [0.0004]]),
        targets=np.zeros((3, 1), int),
        weights=contributions,
        contributions=contributions,
        contribution_map=contributions.sum(-1),
        bias=bias,
        residual=residual,
    )
    np.testing.assert_allclose(explanation.relative_residual, [[0.008 / 8.008], [0.0004 / 2.0004], [0.0004 / 2]])
    np.testing.assert_allclose(explanation[1].relative_residual, [[0.0004 / 2.0004]])
