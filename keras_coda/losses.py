"""The classification loss of CoDA-Nets (paper, 3.2 and eq. 9)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_coda")
class OneVsRestCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy of every class's logit against the label, from integer or one-hot labels (paper, eq. 9).

    Keras' `BinaryCrossentropy`, for class labels as well: the target class's output is maximised and every other
    class's is minimised, which is what aligns the weights of a CoDA-Net. The loss is the mean over classes.

    Args:
        from_logits: whether predictions are logits, as those of a `CoDANet` are.
        **kwargs: `label_smoothing`, `reduction`, `name` and `dtype`, as for `keras.losses.BinaryCrossentropy`.

    Call arguments:
        y_true: integer labels `(N,)` or `(N, 1)`, or one-hot (or multi-label) targets `(N, classes)`.
        y_pred: logits `(N, classes)`.

    Example:

    >>> loss = keras_coda.losses.OneVsRestCrossentropy()
    >>> loss([1, 0], [[-2.0, 2.0], [3.0, -3.0]])
    0.0878
    """

    def __init__(self, from_logits=True, name="one_vs_rest_crossentropy", **kwargs):
        super().__init__(from_logits=from_logits, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_pred = ops.convert_to_tensor(y_pred)
        return super().call(to_one_hot(y_true, y_pred.shape[-1]), y_pred)


def to_one_hot(labels, classes):
    """`(N, classes)` targets as they are, integer labels `(N,)` or `(N, 1)` as one-hot targets.

    With one class, labels are targets: 1 for yes and 0 for no.
    """
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2 and labels.shape[-1] == classes:
        return labels
    if len(labels.shape) > 2 or (len(labels.shape) == 2 and labels.shape[-1] != 1):
        raise ValueError(
            f"Labels must be integers of shape (N,) or (N, 1), or targets of shape (N, {classes}). "
            f"Received: shape {tuple(labels.shape)}"
        )
    if classes == 1:
        return ops.reshape(labels, (-1, 1))
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes)
