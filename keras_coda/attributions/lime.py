"""LIME: a sparse linear model of the classifier's probabilities for images without some of their superpixels."""

from typing import Any

import keras
import numpy as np

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.masked import MaskedScores
from keras_coda.checks import check_positive
from keras_coda.imports import Lazy
from keras_coda.layers.unit_range import to_unit_range

linear_model = Lazy("sklearn.linear_model", "scikit-learn")
pairwise = Lazy("sklearn.metrics", "scikit-learn")
segmentation = Lazy("skimage.segmentation", "scikit-image")
utils = Lazy("sklearn.utils", "scikit-learn")

# As in the lime package: the width of the kernel over cosine distances, and the largest number of features for forward
# selection.
_KERNEL_WIDTH = 0.25
_FORWARD_UP_TO = 6


class LIME(Attribution):
    """Local interpretable model-agnostic explanations (Ribeiro et al., 2016), `(N, H, W)`.

    Quickshift splits the image into superpixels. In each random variant of the image, about half of the superpixels are
    replaced by their mean colour. A linear model of the target's probability is fitted to the variants, in which those
    similar to the image have larger weights. A few superpixels get a coefficient, which is the attribution of their
    pixels. All other pixels are 0.

    This equals the lime package's `LimeImageExplainer`, with its selection of features and, for `random_state=seed`,
    its random variants. There are four differences. Every image starts from the seed, independent of the images before
    it. Superpixels get their mean in every channel of the encoded image. The seed of quickshift is `seed`. Images
    outside [0, 1] are scaled before quickshift: integers by 1/255, floats from their smallest and largest value to 0
    and 1.

    Args:
        model: see `Attribution`.
        kernel_size, max_distance, ratio: of scikit-image's `quickshift`: a larger kernel makes fewer superpixels.
        samples: integer, variants of an image.
        features: integer, superpixels that get a weight.
        seed: integer.
        activation: the function from outputs to probabilities, see `Classifier`. With "linear" the linear model is of
            the outputs themselves, which is better where all probabilities are close to 0, as in the grids of
            `metrics.localisation`.
        batch_size: integer, variants evaluated at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: a number is not positive, or `kernel_size` less than 1.

    Example:

    >>> keras_coda.attributions.LIME(model, kernel_size=1)(images)
    """

    def __init__(
        self,
        model: keras.Model,
        kernel_size: float = 4,
        max_distance: float = 200,
        ratio: float = 0.2,
        samples: int = 256,
        features: int = 3,
        seed: int = 0,
        activation: Any = None,
        batch_size: int = 32,
        input: str = "encoded",
    ):
        check_positive(samples=samples, features=features)
        if kernel_size < 1:
            raise ValueError(f"`kernel_size` must be at least 1. Received: {kernel_size}")
        super().__init__(model, batch_size, input)
        self.kernel_size = kernel_size
        self.max_distance = max_distance
        self.ratio = ratio
        self.samples = samples
        self.features = features
        self.seed = seed
        self._masked = MaskedScores(self.classifier, activation or self.classifier.activation)
        self.activation = self._masked.activation_name

    def _attribute(self, images, source, targets, verbose):
        segments = [self.superpixels(image) for image in self._pictures(images, source)]
        kept = [self._kept(segment.max() + 1) for segment in segments]
        channel_axis = self.classifier.channel_axis
        colours = np.stack([_mean_colours(*pair, channel_axis) for pair in zip(source, segments, strict=True)])

        def masks(images, numbers):
            return np.stack([kept[i][n][segments[i]] for i, n in zip(images, numbers, strict=True)])

        scores = self._masked.scores(
            source, targets, masks, self.samples, self.batch_size, baseline=colours, verbose=verbose
        )
        weights = [
            [superpixel_weights(on, score, self.features) for score in of_image.T]
            for on, of_image in zip(kept, scores, strict=True)
        ]
        return np.stack([np.stack(w)[:, segment] for w, segment in zip(weights, segments, strict=True)])

    def _pictures(self, images, source):
        """The images `(N, H, W, C)` to cut into superpixels: what the encoding takes."""
        encoding: Any = self.classifier.encoding
        axis = self.classifier.channel_axis
        if self.classifier.before is None or self.input == "image":
            return np.moveaxis(images, axis, -1)
        source = np.moveaxis(source, axis, -1)
        return source[..., : source.shape[-1] // 2] if encoding.add_negative else source

    def superpixels(self, image: np.ndarray) -> np.ndarray:
        """The superpixel of each pixel of an image `(H, W, C)`: integers from 0 on, `(H, W)`."""
        image = to_unit_range(image, check=False).astype("float64")
        low, high = image.min(), image.max()
        if low < 0 or high > 1:
            image = (image - low) / (high - low or 1.0)
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        return segmentation.quickshift(
            image,
            ratio=self.ratio,
            kernel_size=self.kernel_size,
            max_dist=self.max_distance,
            convert2lab=image.shape[-1] == 3,
            rng=self.seed,
        )

    def _kept(self, superpixels):
        """The superpixels that each variant keeps: `(samples, superpixels)` in {0, 1}. The first variant keeps all."""
        kept = utils.check_random_state(self.seed).randint(0, 2, self.samples * superpixels)
        kept = kept.reshape(self.samples, superpixels)
        kept[0] = 1
        return kept


def superpixel_weights(kept: np.ndarray, scores: np.ndarray, features: int) -> np.ndarray:
    """The weights of superpixels in LIME's linear model.

    Args:
        kept: `(samples, superpixels)` in {0, 1}, the first row all 1.
        scores: `(samples,)`, the probabilities of the target.
        features: integer, the number of superpixels with a weight other than 0.

    Returns:
        `(superpixels,)`, float64.
    """
    kept, scores = kept.astype("float64"), scores.astype("float64")
    distances = pairwise.pairwise_distances(kept, kept[:1], metric="cosine")[:, 0]
    importance = np.exp(-(distances**2) / (2 * _KERNEL_WIDTH**2))
    select = _forward_selection if features <= _FORWARD_UP_TO else _highest_weights
    chosen = select(kept, scores, importance, min(features, kept.shape[1]))
    weights = np.zeros(kept.shape[1])
    weights[chosen] = _ridge(1.0, kept[:, chosen], scores, importance)
    return weights


def _forward_selection(kept, scores, importance, features):
    """Forward selection: again and again the superpixel that increases R^2 of weighted least squares most."""
    root = np.sqrt(importance)[:, np.newaxis]
    x = root * (kept - np.average(kept, axis=0, weights=importance))
    residual = root[:, 0] * (scores - np.average(scores, weights=importance))
    negligible = 1e-10 * np.sum(x**2, axis=0)
    chosen: list[int] = []
    for _ in range(features):
        # Columns of x are orthogonal to the chosen ones.
        squares = np.sum(x**2, axis=0)
        explained = np.where(squares > negligible, (x.T @ residual) ** 2 / np.maximum(squares, 1e-300), 0.0)
        explained[chosen] = -1.0
        best = int(np.argmax(explained))
        chosen.append(best)
        direction = x[:, best] / max(np.linalg.norm(x[:, best]), 1e-150)
        residual = residual - direction * (direction @ residual)
        x = x - np.outer(direction, direction @ x)
    return chosen


def _highest_weights(kept, scores, importance, features):
    """The superpixels with the largest weights in a ridge regression on all of them."""
    weights = _ridge(0.01, kept, scores, importance)
    return np.argsort(-np.abs(weights), kind="stable")[:features]


def _ridge(alpha, kept, scores, importance):
    """The weights of a linear model, by ridge regression."""
    return linear_model.Ridge(alpha=alpha).fit(kept, scores, sample_weight=importance).coef_


def _mean_colours(source, segments, channel_axis):
    """A source in which each superpixel has its mean value in every channel."""
    channels = np.moveaxis(source, channel_axis, 0).astype("float64")
    flat = segments.reshape(-1)
    sums = np.stack([np.bincount(flat, weights=channel.reshape(-1)) for channel in channels])
    means = (sums / np.bincount(flat))[:, segments]
    return np.moveaxis(means, 0, channel_axis).astype(source.dtype)
