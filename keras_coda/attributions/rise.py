"""RISE: the mean of random masks, weighted by the probability of the masked image."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.masked import MaskedScores
from keras_coda.checks import check_positive
from keras_coda.imports import Lazy

transform = Lazy("skimage.transform", "scikit-image")

# The number of masks in memory at once while they are summed.
_TOGETHER = 512


class RISE(Attribution):
    """Randomized input sampling for explanation (Petsiuk et al., 2018), `(N, H, W)`.

    `sum_i p(image * mask_i) mask_i / (masks * probability)`, where p is the probability of the target. A mask starts as
    a random binary grid. It is enlarged bilinearly to one cell more than the image, and cut out at a random shift of up
    to a cell. Masked pixels are 0 in all channels of the (encoded) image.

    NumPy draws the masks from the seed, so that they are the same for every image, model and backend. Other
    implementations draw other masks.

    Args:
        model: see `Attribution`.
        masks: integer, the number of masks.
        cells: integer, the number of cells along each axis of the grid (h and w in the paper, "s" in its code).
        probability: number in (0, 1], the probability that a cell is kept.
        seed: integer.
        activation: the function from outputs to probabilities, see `Classifier`.
        batch_size: integer, masked images evaluated at once.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: `probability` is not in (0, 1], or a number not positive.

    Example:

    >>> keras_coda.attributions.RISE(model, masks=200, probability=0.5)(images, targets=[3] * len(images))
    """

    def __init__(
        self,
        model: keras.Model,
        masks: int = 6000,
        cells: int = 6,
        probability: float = 0.1,
        seed: int = 0,
        activation: Any = None,
        batch_size: int = 32,
        input: str = "encoded",
    ):
        check_positive(masks=masks, cells=cells)
        if not 0 < probability <= 1:
            raise ValueError(f"`probability` must be in (0, 1]. Received: {probability}")
        super().__init__(model, batch_size, input)
        self.masks = masks
        self.cells = cells
        self.probability = probability
        self.seed = seed
        self._masked = MaskedScores(self.classifier, activation or self.classifier.activation)
        self.activation = self._masked.activation_name

    def _attribute(self, images, source, targets, verbose):
        draw = self.draw(*(source.shape[axis] for axis in self.classifier.pixel_axes))
        scores = self._masked.scores(
            source, targets, lambda images, numbers: draw(numbers), self.masks, self.batch_size, verbose=verbose
        )
        maps = 0.0
        for start in range(0, self.masks, _TOGETHER):
            part = slice(start, min(start + _TOGETHER, self.masks))
            maps += np.einsum("nmk,mhw->nkhw", scores[:, part], draw(np.arange(self.masks)[part]), optimize=True)
        return maps / (self.masks * self.probability)

    def draw(self, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
        """The masks for images of a size in pixels.

        Args:
            height, width: integers.

        Returns:
            A function of an integer array `(B,)`, numbers of masks, that returns these masks, float32
            `(B, height, width)`.
        """
        rng = np.random.default_rng(self.seed)
        grids = (rng.random((self.masks, self.cells, self.cells)) < self.probability).astype("float32")
        # Bilinear interpolation is a matrix for each axis. A mask takes its rows from the mask's shift on.
        rows, columns = (self._shifted(size, rng) for size in (height, width))
        return lambda numbers: rows(numbers) @ grids[numbers] @ np.swapaxes(columns(numbers), 1, 2)

    def _shifted(self, size, rng):
        """Interpolation along one axis: a function of the numbers of B masks that returns `(B, size, cells)`."""
        cell = -(-size // self.cells)
        enlarge = transform.resize(
            np.eye(self.cells), ((self.cells + 1) * cell, self.cells), order=1, anti_aliasing=False
        ).astype("float32")
        shifts = rng.integers(cell, size=self.masks)
        return lambda numbers: enlarge[shifts[numbers][:, np.newaxis] + np.arange(size)]
