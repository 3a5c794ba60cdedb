"""Occlusion: how much the output drops when a patch of the image is covered."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.masked import MaskedScores
from keras_coda.attributions.patch_drops import PatchDrops
from keras_coda.checks import check_positive


class Occlusion(Attribution):
    """The drop of the target's output when a patch is occluded (Zeiler & Fergus, 2014), `(N, H, W)`.

    A pixel's attribution is the mean drop over the patches that cover it. Patches start at multiples of the stride,
    until one reaches the border, where it is cut off. This equals Captum's method with patches over all channels.

    Args:
        model: see `Attribution`.
        patch: integer, height and width of the patch.
        stride: integer, at most `patch`.
        baseline: the value of occluded pixels: a number, or an array that broadcasts to the (encoded) images. In [0, 1]
            for a model with an `InputEncoding`.
        batch_size: integer, images evaluated at once. In a CoDA-Net only a window around each patch is evaluated, and
            several windows count as one image.
        input: "encoded" or "image", see `Attribution`.

    Raises:
        ValueError: the patch is larger than the image (when called), or the stride larger than the patch.

    Example:

    >>> keras_coda.attributions.Occlusion(model, patch=5)(images, targets="all").shape
    (2, 10, 16, 16)
    """

    def __init__(
        self,
        model: keras.Model,
        patch: int = 9,
        stride: int = 2,
        baseline: ArrayLike = 0.0,
        batch_size: int = 32,
        input: str = "encoded",
    ):
        check_positive(patch=patch, stride=stride)
        if stride > patch:
            raise ValueError(
                "`stride` must be at most `patch`, or some pixels are never occluded. "
                f"Received: stride={stride}, patch={patch}"
            )
        super().__init__(model, batch_size, input)
        self.patch = patch
        self.stride = stride
        self.baseline = baseline
        self._masked = MaskedScores(self.classifier, "linear")
        self._patch_drops = PatchDrops.of(self.classifier)

    def _attribute(self, images, source, targets, verbose):
        size = tuple(source.shape[axis] for axis in self.classifier.pixel_axes)
        rows, columns = map(self._windows, size)
        if self._patch_drops is not None and self._patch_drops.pays(size, self.patch, self.batch_size):
            starts = rows.argmax(axis=1), columns.argmax(axis=1)
            drops = self._patch_drops.drops(
                self.classifier, source, targets, self.patch, starts, self.batch_size, self.baseline, verbose
            )
        else:
            drops = self._drops(source, targets, rows, columns, verbose)
        total = np.einsum("nrck,rh,cw->nkhw", drops, rows, columns, optimize=True)
        return total / np.outer(rows.sum(0), columns.sum(0))

    def _drops(self, source, targets, rows, columns, verbose):
        """The drops for all patches, of any model: `(N, rows, columns, K)`."""
        count = len(rows) * len(columns)
        # The mask with number `count` covers nothing. Its row is the one added here.
        padded_rows = np.pad(rows, [(0, 1), (0, 0)])

        def masks(images, numbers):
            row, column = np.divmod(numbers, len(columns))
            return 1 - padded_rows[row][:, :, np.newaxis] * columns[column][:, np.newaxis, :]

        outputs = self._masked.scores(
            source, targets, masks, count + 1, self.batch_size, baseline=self.baseline, verbose=verbose
        )
        return (outputs[:, -1:] - outputs[:, :-1]).reshape(len(source), len(rows), len(columns), -1)

    def _windows(self, size):
        """Which of `size` pixels each window covers along one axis, `(windows, size)` in {0, 1}."""
        if self.patch > size:
            raise ValueError(f"`patch` must fit into the images. Received: patch={self.patch} for {size} pixels")
        starts = self.stride * np.arange(-(-(size - self.patch) // self.stride) + 1)
        offsets = np.arange(size) - starts[:, np.newaxis]
        return ((offsets >= 0) & (offsets < self.patch)).astype("float32")
