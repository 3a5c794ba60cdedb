"""Integrated gradients: the mean gradient on the line from a baseline to the image, times their difference."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.baseline import broadcast
from keras_coda.attributions.pull_back import PullBack
from keras_coda.checks import check_positive


class IntegratedGradients(Attribution):
    """Gradients integrated along the line from a baseline to the image (Sundararajan et al., 2017), `(N, H, W, C)`.

    The integral is computed by Gauss-Legendre quadrature, Captum's default. With enough steps, attributions sum up to
    the difference between the outputs for the image and for the baseline. For CoDA-Nets the line is in the space of
    encoded images, in which the baseline 0 encodes no image.

    Args:
        model: see `Attribution`.
        steps: integer, the number of points on the line. The paper compares with 20.
        baseline: a number, or an array that broadcasts to the (encoded) images: one for all, or one an image. In [0, 1]
            for a model with an `InputEncoding`.
        batch_size: integer, points evaluated at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: `steps` is not positive; the baseline does not fit the images (when called).

    Example:

    >>> keras_coda.attributions.IntegratedGradients(model, steps=50)(images)
    """

    def __init__(
        self,
        model: keras.Model,
        steps: int = 20,
        baseline: ArrayLike = 0.0,
        batch_size: int = 32,
        input: str = "encoded",
    ):
        super().__init__(model, batch_size, input)
        check_positive(steps=steps)
        self.steps = steps
        self.baseline = baseline
        self._pull_back = PullBack(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)  # on [-1, 1]
        baseline = broadcast(self.baseline, source, self.classifier)
        difference = source - baseline

        def points(images, numbers):
            return baseline[images] + (nodes[numbers, None, None, None] + 1) / 2 * difference[images]

        mean = self._pull_back.weighted_gradients(source, targets, points, weights / 2, self.batch_size, verbose)
        return mean * difference[:, np.newaxis]
