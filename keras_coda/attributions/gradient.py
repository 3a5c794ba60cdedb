"""The gradient of an output with respect to the image, its absolute value, and its product with the image."""

import keras
import numpy as np

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.pull_back import PullBack


class Gradient(Attribution):
    """The gradient of the target's output with respect to the image, signed, `(N, H, W, C)`.

    Baehrens et al. (2010). `Saliency` is its absolute value. Arguments and call: see `Attribution`.

    Example:

    >>> keras_coda.attributions.Gradient(model)(images, targets=[3] * len(images))
    """

    def __init__(self, model: keras.Model, batch_size: int = 32, input: str = "encoded"):
        super().__init__(model, batch_size, input)
        self._pull_back = PullBack(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        return self._pull_back.gradients(source, targets, self.batch_size, verbose)


class Saliency(Gradient):
    """The absolute value of the gradient, `(N, H, W, C)` (Simonyan et al., 2014).

    It tells how strongly the output reacts to each value, but not in which direction. Captum's `Saliency` is the same.
    The published scores of "gradient" fit this definition. Arguments and call: see `Attribution`.

    Example:

    >>> keras_coda.attributions.Saliency(model)(images)
    """

    def _attribute(self, images, source, targets, verbose):
        return np.abs(super()._attribute(images, source, targets, verbose))


class InputXGradient(Gradient):
    """The gradient times the input, `(N, H, W, C)` (Shrikumar et al., 2016).

    For a network of linear layers it equals the contributions. For DAU layers it does not, since W(x) depends on x.
    Arguments and call: see `Attribution`.

    Example:

    >>> keras_coda.attributions.InputXGradient(model)(images)
    """

    def _attribute(self, images, source, targets, verbose):
        return super()._attribute(images, source, targets, verbose) * source[:, None]
