"""SmoothGrad: the mean gradient of noisy copies of the image."""

import keras
import numpy as np

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.pull_back import PullBack
from keras_coda.checks import check_positive


class SmoothGrad(Attribution):
    """The mean gradient of images with Gaussian noise (Smilkov et al., 2017), signed, `(N, H, W, C)`.

    NumPy draws the noise from the seed. It is the same for every image, model and backend, so that a map does not
    depend on the other images. For CoDA-Nets, noise is added to each channel of the encoded image.

    Args:
        model: see `Attribution`.
        samples: integer, noisy copies of each image.
        noise: number, the standard deviation relative to the range of the image's values.
        seed: integer.
        batch_size: integer, copies evaluated at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: `samples` is not positive, or `noise` negative.

    Example:

    >>> keras_coda.attributions.SmoothGrad(model, samples=20)(images)
    """

    def __init__(
        self,
        model: keras.Model,
        samples: int = 50,
        noise: float = 0.15,
        seed: int = 0,
        batch_size: int = 32,
        input: str = "encoded",
    ):
        super().__init__(model, batch_size, input)
        check_positive(samples=samples)
        if noise < 0:
            raise ValueError(f"`noise` must not be negative. Received: {noise}")
        self.samples = samples
        self.noise = noise
        self.seed = seed
        self._pull_back = PullBack(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        rng = np.random.default_rng(self.seed)
        noise = rng.standard_normal((self.samples, *source.shape[1:]), "float32")
        deviation = self.noise * np.ptp(source, axis=(1, 2, 3), keepdims=True)

        def noisy(images, numbers):
            return source[images] + deviation[images] * noise[numbers]

        weights = np.full(self.samples, 1 / self.samples)
        return self._pull_back.weighted_gradients(source, targets, noisy, weights, self.batch_size, verbose)
