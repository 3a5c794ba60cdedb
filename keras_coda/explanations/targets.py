"""The target of an explanation: from the forms that users give to indices for a compiled program."""

from collections.abc import Sequence
from typing import Any

import numpy as np

PREDICTED = -1


def to_flat_indices(target: Any, count: int, shape: Sequence[int]) -> tuple[np.ndarray, bool]:
    """Indices into the flattened outputs of a layer.

    Args:
        target: `None`: the largest output. "all". Integers: one index for all images, `(N,)` for one an image, or
            `(N, K)` for K an image. For a layer whose outputs have m > 1 axes, an index is m integers, along the last
            axis.
        count: integer N, the number of images.
        shape: shape of the layer's outputs without the batch axis.

    Returns:
        `(indices, several)`: int32 `(N, K)`, with -1 for the largest output; and whether the result has an axis K.

    Raises:
        ValueError: the target is of another form, or out of range.
    """
    if target is None:
        return np.full((count, 1), PREDICTED, "int32"), False
    size = int(np.prod(shape))
    if isinstance(target, str):
        if target != "all":
            raise ValueError(f'`target` must be None, "all" or integers. Received: {target!r}')
        return np.tile(np.arange(size, dtype="int32"), (count, 1)), True
    indices = np.asarray(target)
    expected = "one class" if len(shape) == 1 else f"{len(shape)} indices"
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f'`target` must be None, "all" or integers. Received: an array of {indices.dtype}')
    if len(shape) == 1:
        indices = indices[..., np.newaxis]
    valid_form = indices.ndim in (1, 2, 3) and indices.shape[-1] == len(shape) and indices.size
    if not valid_form or (indices.ndim > 1 and len(indices) != count):
        raise ValueError(
            f"`target` must be {expected} for all images, or for each of the {count} images, or several for each, "
            f"of outputs of shape {tuple(shape)}. Received: an array of shape {np.shape(target)}"
        )
    outside = (indices < 0) | (indices >= np.array(shape))
    if outside.any():
        last = size - 1 if len(shape) == 1 else tuple(int(s) - 1 for s in shape)
        wrong = indices[outside.any(axis=-1)][0]
        raise ValueError(
            f"`target` is out of range: expected indices from 0 to {last}. "
            f"Received: {int(wrong[0]) if len(shape) == 1 else tuple(int(i) for i in wrong)}"
        )
    flat = np.ravel_multi_index(tuple(np.moveaxis(indices, -1, 0)), tuple(shape)).astype("int32")
    rows = flat if flat.ndim == 2 else flat.reshape(-1, 1)
    return np.broadcast_to(rows, (count, rows.shape[1])), flat.ndim == 2
