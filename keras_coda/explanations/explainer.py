"""Contributions of a model's input, or of an inner layer, to any of its units (paper, eq. 6 to 8)."""

import contextlib
import types

import keras
import numpy as np
from keras import ops

from keras_coda.explanations import targets
from keras_coda.explanations.explanation import Explanation
from keras_coda.layers.input_encoding import InputEncoding, to_unit_range
from keras_coda.linear_maps import chain, linear_map_through


class Explainer(keras.Model):
    """Explains a model's outputs by the contributions of its input; compiled and batched by Keras' `predict`.

    The matrix W(x) is kept as the maps of the layers and applied from the back by their transposes (paper,
    eq. 7), in `keras.ops`: no gradients are taken. An explanation costs about as much as a training step.

    Args:
        model: a CoDA-Net, or any built Sequential or Functional chain of DAU layers and linear layers.
        layer: the layer whose outputs are explained, or its name. Default: the model's last.
        source: the layer whose outputs contribute, or its name. Default: the `InputEncoding`, or, without one, the
            model's input.
        dtype: dtype policy to explain in, such as "float32" for a model in low precision. Default: the model's own.

    Raises:
        NotDynamicLinearError: a part of the model between `source` and `layer` is not dynamic linear; it is named.
        ValueError: `layer` or `source` is not in the model, or `source` does not come before `layer`.

    Example:

    >>> explainer = keras_coda.Explainer(model, layer="dau_3")
    >>> explainer.explain(images, target=(4, 4, 0)).contribution_map.shape    # row 4, column 4, channel 0
    (32, 32, 32)
    """

    def __init__(self, model, layer=None, source=None, dtype=None):
        super().__init__(name=f"{model.name}_explainer", dtype=dtype)
        self.model = model
        self._policy = None if dtype is None else self.dtype_policy
        self._steps = steps = chain(model)
        if source is None:
            start = max((i + 1 for i, step in enumerate(steps) if isinstance(step, InputEncoding)), default=0)
        else:
            start = _position(steps, source, "source") + 1
        end = len(steps) if layer is None else _position(steps, layer, "layer") + 1
        if start >= end:
            raise ValueError(
                "`source` must come before `layer`. "
                f"Received: source={_name(source)}, layer={_name(layer)} in {[step.name for step in steps]}"
            )
        self._before, self._explained = steps[:start], steps[start:end]
        # It has no weights of its own; else Keras would build it by an eager call on the first batch.
        self.built = True

    def explain(self, images, target=None, batch_size=32, verbose=0):
        """Explain a batch of images.

        Args:
            images: array or tensor `(N, H, W, C)` (or as the model takes them), in [0, 1], or integers in 0..255.
            target: what to explain: `None`, the predicted class of each image; "all" classes; or integers, one
                class for all images, `(N,)` classes, or `(N, K)` for K classes an image. A unit of a layer whose
                outputs have m > 1 axes is m integers: `(m,)`, `(N, m)` or `(N, K, m)`.
            batch_size: images explained at once.
            verbose: 1 shows a progress bar, as in `keras.Model.predict`.

        Returns:
            An `Explanation`.

        Raises:
            ValueError: images of another shape, plainly outside [0, 1] or NaN; a target out of range.
            NotDynamicLinearError: see the class.
        """
        images = ops.convert_to_numpy(images)
        if images.ndim < 2 or not len(images):
            raise ValueError(f"Expected a batch of images with a leading axis. Received: shape {images.shape}")
        if getattr(self.model, "inputs", None) and not getattr(self.model, "scales_integers", False):
            # As Keras does before the first layer.
            images = images.astype(self._policy.compute_dtype if self._policy else self.model.inputs[0].dtype)
        if isinstance(self._steps[0], InputEncoding):
            to_unit_range(images)
        if not np.isfinite(np.sum(images, dtype="float64")):
            raise ValueError("Images must be finite. Received: images with NaN or infinite values.")
        self._check_shape(images)
        outputs = keras.KerasTensor(images.shape)
        for step in [*self._before, *self._explained]:
            outputs = step.compute_output_spec(outputs)
        shape = outputs.shape
        indices, several = targets.to_flat_indices(target, len(images), shape[1:])
        inputs = {"images": images, "targets": indices}
        results = self.predict(inputs, batch_size=batch_size, verbose=verbose)
        if len(shape) > 2:
            results["targets"] = np.stack(np.unravel_index(results["targets"], shape[1:]), axis=-1)
        if not several:
            results = {key: value if key == "logits" else value[:, 0] for key, value in results.items()}
        return Explanation(**results)

    def _check_shape(self, images):
        expected = getattr(self.model, "input_shape", None)
        if not isinstance(expected, tuple):
            return
        matches = len(expected) == images.ndim and all(
            e is None or e == r for e, r in zip(expected, images.shape, strict=True)
        )
        if not matches:
            raise ValueError(
                f"Model {self.model.name!r} takes inputs of shape {expected}. Received: shape {images.shape}"
            )

    def call(self, inputs):
        """The fields of `Explanation` as tensors, each with an axis of targets, from `images` and flat `targets`."""
        with _computing_in(self._policy, self._steps):
            return self._call(inputs)

    def _call(self, inputs):
        source = inputs["images"]
        for step in self._before:
            source = step(source, training=False) if getattr(step, "_call_has_training_arg", False) else step(source)
        logits, W = linear_map_through(self._explained, source)
        logits = ops.cast(logits, "float32")
        flat = ops.reshape(logits, (ops.shape(logits)[0], -1))
        # Of integers: what TensorFlow does for floats, no format of `keras_coda.export` has.
        largest = ops.cast(flat >= ops.max(flat, axis=-1, keepdims=True), "int32")
        predicted = ops.expand_dims(ops.argmax(largest, axis=-1), -1)
        chosen = ops.cast(inputs["targets"], "int32")
        chosen = ops.where(chosen == targets.PREDICTED, ops.cast(predicted, "int32"), chosen)

        one_hot = ops.one_hot(ops.transpose(chosen), ops.shape(flat)[-1])  # (K, N, outputs)
        rows = W.T @ ops.reshape(one_hot, (ops.shape(chosen)[1], *ops.shape(logits)))
        weights = ops.cast(ops.swapaxes(rows, 0, 1), "float32")
        contributions = weights * ops.expand_dims(ops.cast(source, "float32"), 1)

        # By products, which every format of `keras_coda.export` has.
        def of_chosen(outputs):
            return ops.sum(ops.swapaxes(one_hot, 0, 1) * ops.expand_dims(outputs, 1), axis=-1)

        values = of_chosen(flat)
        bias = ops.zeros_like(values)
        if W.offset is not None:
            offset = ops.broadcast_to(ops.cast(W.offset, "float32"), ops.shape(logits))
            bias = of_chosen(ops.reshape(offset, ops.shape(flat)))
        total = ops.sum(contributions, axis=tuple(range(2, len(contributions.shape))))
        return {
            "logits": logits,
            "targets": chosen,
            "weights": weights,
            "contributions": contributions,
            "contribution_map": self._over_channels(contributions),
            "bias": bias,
            "residual": values - bias - total,
        }

    def _over_channels(self, contributions):
        if len(contributions.shape) != 5:
            return contributions
        nearest = [*self._before[::-1], *self._explained]
        formats = [step.data_format for step in nearest if hasattr(step, "data_format")]
        first = (formats or [keras.config.image_data_format()])[0] == "channels_first"
        return ops.sum(contributions, axis=2 if first else -1)


def explain(model, images, target=None, *, layer=None, source=None, dtype=None, batch_size=32, verbose=0):
    """Explain what a model makes of a batch of images: `model.explain(...)` for any dynamic linear model.

    The graph is compiled once for a model, `layer`, `source` and `dtype`, and kept with the model.

    Args:
        model: a CoDA-Net, or any built Sequential or Functional chain of DAU layers and linear layers.
        images: array or tensor `(N, H, W, C)` (or as the model takes them), in [0, 1], or integers in 0..255.
        target: the class or unit to explain, see `Explainer.explain`. Default: the predicted class of each image.
        layer, source: layers or their names: explain the outputs of `layer` by those of `source`, see `Explainer`.
        dtype: dtype policy to explain in, such as "float32" for a model in low precision. Default: the model's own.
        batch_size: images explained at once.
        verbose: 1 shows a progress bar.

    Returns:
        An `Explanation`.

    Raises:
        NotDynamicLinearError, ValueError: see `Explainer`.

    Example:

    >>> explanation = keras_coda.explain(model, images)
    >>> explanation.contribution_map.shape
    (32, 32, 32)
    """
    # In a namespace, which Keras neither tracks as a part of the model nor saves with it.
    if not hasattr(model, "_explainers"):
        model._explainers = types.SimpleNamespace(by_arguments={})
    explainers = model._explainers.by_arguments
    key = (layer, source, None if dtype is None else keras.dtype_policies.get(dtype).name)
    # A model that has been given other layers since is another one to explain.
    if key not in explainers or explainers[key]._steps != chain(model):
        explainers[key] = Explainer(model, layer, source, dtype)
    return explainers[key].explain(images, target, batch_size=batch_size, verbose=verbose)


@contextlib.contextmanager
def _computing_in(policy, layers):
    """Layers compute by another dtype policy; `None` changes nothing. Their variables stay what they are."""
    # Operations without weights have none.
    own = {layer: layer.dtype_policy for layer in layers if policy and isinstance(layer, keras.layers.Layer)}
    try:
        for layer in own:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, policy in own.items():
            layer.dtype_policy = policy


def _name(layer):
    return getattr(layer, "name", layer)


def _position(steps, layer, argument):
    positions = [i for i, step in enumerate(steps) if step is layer or step.name == layer]
    if not positions:
        raise ValueError(f"`{argument}` must be one of {[step.name for step in steps]}. Received: {_name(layer)!r}")
    return positions[-1]
