"""The classification loss of CoDA-Nets (paper, 3.2 and eq. 9)."""

import math

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor

# How far targets may be outside [0, 1], since mixed labels have rounding errors.
_ROUNDING = 1e-3
_SMALL_INTEGERS = ("bool", "int8", "int16", "uint8", "uint16")


@keras.saving.register_keras_serializable(package="keras_coda")
class OneVsRestCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy of every class's logit, from integer or one-hot labels (paper, eq. 9).

    It is Keras' `BinaryCrossentropy`, and takes class labels as well. The output of the target class is maximised,
    those of all other classes are minimised. This aligns the weights of a CoDA-Net. The loss is the mean over classes.
    For one class, `keras.metrics.BinaryAccuracy(threshold=0.0)` is the accuracy: "accuracy" counts logits above 0.5.

    Args:
        from_logits: whether predictions are logits, as those of a `CoDANet` are.
        **kwargs: `label_smoothing`, `reduction`, `name` and `dtype`, as for `keras.losses.BinaryCrossentropy`.

    Call arguments:
        y_true: integer labels `(N,)` or `(N, 1)`, or one-hot (or multi-label) targets `(N, classes)`.
        y_pred: logits `(N, classes)`.

    Raises:
        ValueError: labels are out of range, not integers or of another shape, or targets are not in [0, 1]. In a
            compiled graph, and for labels on an accelerator, the loss is NaN instead. `CoDANet.fit` and `evaluate`
            check arrays, and the first batch of other data, before that.

    Example:

    >>> loss = keras_coda.losses.OneVsRestCrossentropy()
    >>> loss([1, 0], [[-2.0, 2.0], [3.0, -3.0]])
    0.0878
    """

    def __init__(self, from_logits: bool = True, name: str = "one_vs_rest_crossentropy", **kwargs):
        super().__init__(from_logits=from_logits, name=name, **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        # Before Keras casts them to the loss's dtype, in which classes may be rounded.
        return super().__call__(to_one_hot(y_true, y_pred.shape[-1]), y_pred, sample_weight)


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise an error for labels or targets that do not fit the number of classes.

    Args:
        labels: NumPy array or tensor whose values can be read, as `OneVsRestCrossentropy` takes them.
        classes: integer, number of classes.

    Raises:
        ValueError: labels are not whole numbers, out of range, or of another shape; targets are not in [0, 1].
    """
    if labels is None:
        raise ValueError(f"{_expected(classes)} Received: None")
    dtype = str(labels.dtype) if isinstance(labels, np.ndarray) else keras.backend.standardize_dtype(labels.dtype)
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "biuf" and dtype != "bfloat16":
        raise ValueError(f"{_expected(classes)} Received: an array of {dtype}")
    targets = _are_targets(labels, classes)
    if 0 in labels.shape or dtype == "bool":
        return
    # While a function is traced, `ops` would make symbols of NumPy arrays.
    numbers = np if isinstance(labels, np.ndarray) else ops
    low, high = float(numbers.min(labels)), float(numbers.max(labels))
    slack, largest = (_ROUNDING, 1) if targets else (0, classes - 1)
    if not (low >= -slack and high <= largest + slack):  # written so that NaN fails
        kind = "targets" if targets else "labels"
        raise ValueError(f"{_expected(classes)} Received: {kind} from {low:g} to {high:g}")
    if not targets and not keras.backend.is_int_dtype(dtype):
        values = ops.convert_to_numpy(labels)
        if (values != np.floor(values)).any():
            raise ValueError(f"{_expected(classes)} Received: labels such as {values[values != np.floor(values)][0]:g}")


def to_one_hot(labels: Tensor, classes: int) -> Tensor:
    """One-hot targets `(N, classes)` of integer labels `(N,)` or `(N, 1)`. Targets are returned as they are.

    With one class, labels are targets: 1 for yes and 0 for no. Wrong labels are an error, see `check_labels`. In a
    compiled graph, and for labels on an accelerator, they become NaN instead, and so does the loss.
    """
    if not ops.is_tensor(labels):
        labels = np.asarray(labels)
    checked = isinstance(labels, np.ndarray) or (backend.is_concrete(labels) and backend.runs_on_cpu())
    if checked:
        check_labels(labels, classes)
    labels = ops.convert_to_tensor(labels)
    if _are_targets(labels, classes):
        labels = ops.reshape(labels, (-1, classes))
        if checked:
            return labels
        if not keras.backend.is_float_dtype(labels.dtype):
            labels = ops.cast(labels, keras.config.floatx())
        return ops.where(ops.abs(labels - 0.5) <= 0.5 + _ROUNDING, labels, math.nan)
    labels = ops.reshape(labels, (-1,))
    if keras.backend.standardize_dtype(labels.dtype) in _SMALL_INTEGERS:
        labels = ops.cast(labels, "int32")  # so that they can be compared with the number of classes
    index = ops.cast(labels, "int32")
    valid = (labels >= 0) & (labels < classes) & (labels == ops.cast(index, labels.dtype))
    one_hot = ops.one_hot(ops.where(valid, index, 0), classes)
    return ops.where(ops.expand_dims(valid, -1), one_hot, math.nan)


def _are_targets(labels, classes):
    """Whether labels are targets `(N, classes)`. Raises an error if they have the shape of neither."""
    shape = tuple(labels.shape)
    if classes == 1 and len(shape) == 1:
        return True
    if len(shape) == 2 and shape[-1] in (1, classes):
        return shape[-1] == classes
    if len(shape) != 1:
        raise ValueError(f"{_expected(classes)} Received: shape {shape}")
    return False


def _expected(classes):
    if classes == 1:
        return "Labels must be 0 or 1, or targets in [0, 1], of shape (N,) or (N, 1)."
    return (
        f"Labels must be in 0..{classes - 1}, and targets in [0, 1]: integers of shape (N,) or (N, 1), or targets of "
        f"shape (N, {classes})."
    )
