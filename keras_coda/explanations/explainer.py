"""Contributions of a model's input, or of an inner layer, to any of its units (paper, eq. 6 to 8)."""

import dataclasses
import types
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.checks import check_images, check_outputs, check_positive, check_shape
from keras_coda.contractions import contraction
from keras_coda.explanations import own_maps, parts, targets
from keras_coda.explanations.explanation import Explanation
from keras_coda.explanations.snapshot import is_same, snapshot
from keras_coda.layers.input_encoding import InputEncoding
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.known import AUGMENTATION, known
from keras_coda.linear_maps.layout import channel_axis
from keras_coda.linear_maps.steps import needs_pieces
from keras_coda.linear_maps.views import view
from keras_coda.program import Program


@dataclasses.dataclass(frozen=True)
class _Parts:
    """A model as it was when it was split. (Of a tuple, Keras would track the layers as the explainer's own.)"""

    graph: Graph  # of the whole model
    settings: Any  # of its layers
    contractions: list[str]  # that were chosen
    before: Graph  # from the inputs to the sources
    explained: Graph  # from the sources to the explained outputs
    channel_axes: list[int]  # of each source
    pieces: tuple[str, ...]  # names of the layers that are linear in pieces


class Explainer(Program):
    """Explains a model's outputs by the contributions of its input. Keras' `predict` compiles and batches it.

    The matrix W(x) is kept as the maps of the model's operations. Their transposes are applied from the last to the
    first (paper, eq. 7), without gradients.

    Each call of `explain` is for the model's weights and its layers' settings at that time. A user's own layer with a
    method `linear_map` is checked once: its outputs for two images are compared with those of its `call`.

    It can be used by several threads. A copy by `copy.deepcopy`, or a pickle, has a copy of the model.

    Args:
        model: a CoDA-Net, or any built Sequential or Functional model of DAU layers and linear layers. It may branch,
            and contain other models.
        layer: the layer whose outputs are explained, or its name. Of a layer that is used several times, the last use
            is explained. Default: the model's output.
        source: the layer whose outputs contribute, or its name, or a list of them. Every path to the explained outputs
            must pass one of them. Default: every `InputEncoding`, and the model's inputs that are not encoded.
        dtype: dtype policy to explain in, such as "float32" for a model in low precision. Default: the model's own.
        piecewise_linear: whether ReLU, maximum pooling and other piecewise linear functions are treated as the linear
            maps that they are at the given input, as gradients treat them. Off by default, since these maps jump under
            small changes of the input. `Explanation.piecewise_linear` names the layers.

    Raises:
        NotDynamicLinearError: a part of the model between `source` and `layer` is not dynamic linear; it is named.
        ValueError: `layer` or `source` is not in the model, or `source` does not come before `layer`; a source in a
            list is there twice or does not contribute; `dtype` is none of floating-point numbers.

    Example:

    >>> explainer = keras_coda.Explainer(model, layer="dau_2")
    >>> explainer.explain(images, target=(4, 4, 0)).contribution_map.shape    # row 4, column 4, channel 0
    (2, 16, 16)
    """

    def __init__(
        self,
        model: keras.Model,
        layer: keras.Layer | str | None = None,
        source: Any = None,
        dtype: Any = None,
        piecewise_linear: bool = False,
    ):
        graph = Graph.of(model)
        super().__init__(f"{model.name}_explainer", dtype)
        if not keras.backend.is_float_dtype(self.compute_dtype):
            raise ValueError(f"`dtype` must be a floating-point dtype or policy. Received: {dtype!r}")
        self.model = model
        self._policy = None if dtype is None else self.dtype_policy
        # In a namespace, so that Keras does not track the layers as this model's own.
        self._ends = types.SimpleNamespace(layer=layer, source=source)
        self.piecewise_linear = piecewise_linear
        self._split(graph)

    def _split(self, graph):
        """Split the model, as it is now, into the parts before and after the sources."""
        before, explained = parts.split(self.model, graph, self._ends.layer, self._ends.source)
        settings = snapshot(graph.operations)
        if self._policy is not None:
            # Views leave the layers as they are. Both parts share the view of a layer.
            views: dict = {}

            def in_policy(operation):
                if not isinstance(operation, keras.Layer):
                    return operation
                return views.setdefault(id(operation), view(operation, _dtype_policy=self._policy))

            before, explained = before.with_operations(in_policy), explained.with_operations(in_policy)
        pieces = ()
        if self.piecewise_linear:
            pieces = tuple(dict.fromkeys(s.name for s in explained.steps if needs_pieces(s.operation)))
        self._parts = _Parts(
            graph=graph,
            settings=settings,
            contractions=_contractions(),
            before=before,
            explained=explained,
            channel_axes=[channel_axis(graph, number) for number in explained.inputs],
            pieces=pieces,
        )
        self._is_compared = False

    def _follow_changes(self):
        """Compile again where the model's layers or settings, or `set_contraction`, have changed since."""
        graph, old = Graph.of(self.model), self._parts
        same = is_same(snapshot(graph.operations), old.settings) and graph.is_same(old.graph)
        same = same and _contractions() == old.contractions
        if not same:
            self._split(graph)
            self.predict_function = None

    def __reduce__(self):
        """A copy, or a pickle, is a new explainer of a copy of the model. Layers are found by their names."""
        layer, source = (parts.names_of(end) for end in (self._ends.layer, self._ends.source))
        return type(self), (self.model, layer, source, self._policy, self.piecewise_linear)

    def explain(self, images: Any, target: Any = None, batch_size: int = 32, verbose: int = 0) -> Explanation:
        """Explain a batch of images.

        Args:
            images: array or tensor `(N, H, W, C)` (or as the model takes them): floats in [0, 1], or integers in
                0..255. For a model with several inputs, a list of arrays, or a dictionary by the inputs' names.
            target: what to explain. `None`: the predicted class of each image. "all": all classes. Integers: one class
                for all images, `(N,)` for one an image, or `(N, K)` for K an image. For a layer whose outputs have
                m > 1 axes, a unit is m integers: `(m,)`, `(N, m)` or `(N, K, m)`.
            batch_size: images explained at once.
            verbose: 1 shows a progress bar, as in `keras.Model.predict`.

        Returns:
            An `Explanation`. With several sources, `weights`, `contributions` and `contribution_map` are tuples of
            arrays, one for each source, in the order of the list `source`; by default, in the model's order.

        Raises:
            ValueError: images of another shape, out of range or NaN; a target out of range; `batch_size` is not
                positive.
            NotDynamicLinearError: see the class.
        """
        check_positive(batch_size=batch_size)
        with backend.one_at_a_time:
            return self._explain(images, target, batch_size, verbose)

    def _explain(self, images, target, batch_size, verbose):
        self._follow_changes()
        images = self._standardize(images)
        explained = self._parts.explained
        sources = self.source_specs([keras.KerasTensor(array.shape, str(array.dtype)) for array in images])
        shape = explained.run(sources, _spec_of)[0].shape
        indices, several = targets.to_flat_indices(target, len(images[0]), shape[1:])
        self.compare_own_maps(images)
        inputs = {"images": images if len(images) > 1 else images[0], "targets": indices}
        results = self.predict(inputs, batch_size=batch_size, verbose=verbose)
        check_outputs(self.model.name, results["logits"])
        if len(shape) > 2:
            results["targets"] = np.stack(np.unravel_index(results["targets"], shape[1:]), axis=-1)
        if not several:
            results = {
                key: value if key == "logits" else keras.tree.map_structure(lambda v: v[:, 0], value)
                for key, value in results.items()
            }
        names = getattr(self.model, "class_names", None) if self._ends.layer is None else None
        if names is not None and shape[1:] == (len(names),):
            results["class_names"] = names
        return Explanation(**results, piecewise_linear=self._parts.pieces)

    def _standardize(self, images):
        """The images as arrays, one for each input of the model, of the dtype that it takes."""
        expected = getattr(self.model, "inputs", None) or [None]
        by_key = getattr(self.model, "input", None)
        # Keras takes a dictionary by its keys, also where its tensors have other names.
        names = sorted(by_key) if isinstance(by_key, dict) else [getattr(x, "name", "images") for x in expected]
        if isinstance(images, dict):
            if set(images) != set(names):
                raise ValueError(f"Expected the inputs {names} of model {self.model.name!r}. Received: {list(images)}")
            images = [images[name] for name in names]
        elif len(expected) == 1:
            images = [images]
        if len(images) != len(expected):
            raise ValueError(f"Model {self.model.name!r} takes {len(expected)} inputs. Received: {len(images)}")
        images = [ops.convert_to_numpy(array) for array in images]
        if any(array.ndim < 1 or not len(array) for array in images) or (len(images) == 1 and images[0].ndim < 2):
            shapes = ", ".join(str(array.shape) for array in images)
            raise ValueError(f"Expected a batch of images with a leading axis. Received: shape {shapes}")
        if len({len(array) for array in images}) > 1:
            raise ValueError(
                f"Expected as many images of each input. Received: {[len(array) for array in images]} of them"
            )
        for index, (array, tensor) in enumerate(zip(images, expected, strict=True)):
            check_images(self.model.name, array, None if tensor is None else tensor.dtype)
            if tensor is not None and not getattr(self.model, "scales_integers", False):
                # As Keras casts inputs before the first layer.
                dtype = tensor.dtype
                if self._policy is not None and keras.backend.is_float_dtype(dtype):
                    dtype = self._policy.compute_dtype
                array = array.astype(dtype)
            if self._is_encoded_first(self._parts.graph.inputs[index]):
                to_unit_range(array)
            if tensor is not None:
                # `predict` takes any number of images, also where the input has a fixed one.
                check_shape(self.model.name, (None, *tensor.shape[1:]), array.shape)
            images[index] = array
        return images

    def source_specs(self, inputs: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """The shapes and dtypes of the sources, for those of the model's inputs: lists of `keras.KerasTensor`."""
        return self._parts.before.run(inputs, _spec_of)

    @property
    def channel_axes(self) -> list[int]:
        """The channel axis of each source."""
        return self._parts.channel_axes

    @property
    def takes_unit_range(self) -> bool:
        """Whether float images must be in [0, 1]: the model is a CoDA-Net, or begins with an `InputEncoding`."""
        return getattr(self.model, "scales_integers", False) or self._is_encoded_first(self._parts.graph.inputs[0])

    def _is_encoded_first(self, number):
        """Whether an input reaches an `InputEncoding` as it is, or through augmentation alone."""
        taken_by = [step for step in self._parts.graph.steps if number in step.sources]
        return any(
            isinstance(step.operation, InputEncoding)
            or (known(step.operation) is AUGMENTATION and self._is_encoded_first(step.results[0]))
            for step in taken_by
        )

    def compare_own_maps(self, images: list[np.ndarray]) -> None:
        """Compare the `linear_map` of users' own layers with their `call`, once."""
        if not self._is_compared:
            first = [array[:2] for array in images]
            own_maps.compare(self._parts.before, self._parts.explained, first, self.piecewise_linear)
        self._is_compared = True

    def call(self, inputs):
        """The fields of an `Explanation` as tensors with an axis of targets.

        Args:
            inputs: dictionary of `images`, and `targets`: int32 `(N, K)`, indices into the flattened outputs.
        """
        explained, images = self._parts.explained, inputs["images"]
        sources = self._parts.before.run([*images] if isinstance(images, (list, tuple)) else [images])
        logits, W = explained.linear_map(sources, self.piecewise_linear)
        logits = ops.cast(logits, "float32")
        flat = ops.reshape(logits, (ops.shape(logits)[0], -1))
        # Integers, since the formats of `keras_coda.export` lack what TensorFlow does for floats.
        largest = ops.cast(flat >= ops.max(flat, axis=-1, keepdims=True), "int32")
        predicted = ops.expand_dims(ops.argmax(largest, axis=-1), -1)
        chosen = ops.cast(inputs["targets"], "int32")
        chosen = ops.where(chosen == targets.PREDICTED, ops.cast(predicted, "int32"), chosen)

        one_hot = ops.one_hot(ops.transpose(chosen), ops.shape(flat)[-1], dtype="float32")  # (K, N, outputs)
        # Rows of W(x) (paper, eq. 7), and contributions (eq. 8).
        rows, bias = W.pull_back(ops.reshape(one_hot, (ops.shape(chosen)[1], *ops.shape(logits))))
        weights = [ops.cast(ops.swapaxes(row, 0, 1), "float32") for row in rows]
        contributions = [
            w * ops.expand_dims(ops.cast(source, "float32"), 1) for w, source in zip(weights, sources, strict=True)
        ]

        # As a product, which every format of `keras_coda.export` has.
        values = ops.sum(ops.swapaxes(one_hot, 0, 1) * ops.expand_dims(flat, 1), axis=-1)
        bias = ops.zeros_like(values) if bias is None else ops.cast(ops.transpose(bias), "float32")
        totals = [ops.sum(c, axis=tuple(range(2, len(c.shape)))) for c in contributions]
        maps = [
            # Images have 5 axes here: batch, targets, and their own three.
            ops.sum(c, axis=axis + 1) if len(c.shape) == 5 else c
            for c, axis in zip(contributions, self._parts.channel_axes, strict=True)
        ]
        return {
            "logits": logits,
            "targets": chosen,
            "weights": _one_or_all(weights),
            "contributions": _one_or_all(contributions),
            "contribution_map": _one_or_all(maps),
            "bias": bias,
            "residual": values - bias - sum(totals[1:], totals[0]),
        }


def _spec_of(operation):
    """The function from an operation's inputs to its outputs, without values."""
    # A layer's own `compute_output_spec` may not take the `training` of its `call`.
    return lambda *args, training=None, **kwargs: operation.compute_output_spec(*args, **kwargs)


def _contractions():
    """The forms of the contraction that are chosen now."""
    return [contraction(dtype) for dtype in ("float32", "bfloat16")]


def _one_or_all(tensors):
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def explain(
    model: keras.Model,
    images: Any,
    target: Any = None,
    *,
    layer: keras.Layer | str | None = None,
    source: Any = None,
    dtype: Any = None,
    piecewise_linear: bool = False,
    batch_size: int = 32,
    verbose: int = 0,
) -> Explanation:
    """Explain a model's outputs for a batch of images: `CoDANet.explain` for any dynamic linear model.

    The program is compiled once for a model, `layer`, `source` and `dtype`, and kept with the model.

    Args:
        model: a CoDA-Net, or any built Sequential or Functional model of DAU layers and linear layers.
        images: array or tensor `(N, H, W, C)` (or as the model takes them): floats in [0, 1], or integers in 0..255.
            For a model with several inputs, a list of arrays, or a dictionary by the inputs' names.
        target: the class or unit to explain, see `Explainer.explain`. Default: the predicted class of each image.
        layer, source: layers or their names. The outputs of `layer` are explained by those of `source`, see
            `Explainer`.
        dtype: dtype policy to explain in, such as "float32" for a model in low precision. Default: the model's own.
        piecewise_linear: whether ReLU and maximum pooling are treated as the linear maps that they are at these images.
        batch_size: images explained at once.
        verbose: 1 shows a progress bar.

    Returns:
        An `Explanation`.

    Raises:
        NotDynamicLinearError, ValueError: see `Explainer`.

    Example:

    >>> explanation = keras_coda.explain(model, images)
    >>> explanation.contribution_map.shape
    (2, 16, 16)
    """
    key = (
        parts.key_of(layer),
        parts.key_of(source),
        None if dtype is None else keras.dtype_policies.get(dtype).name,
        bool(piecewise_linear),
    )
    with backend.one_at_a_time:
        kept = getattr(model, "_explainers", None)
        explainer = kept.by_arguments.get(key) if kept else None
        if explainer is None:
            explainer = Explainer(model, layer, source, dtype, piecewise_linear)
            # In a namespace, which Keras neither tracks as a part of the model nor saves with it.
            model._explainers = kept or types.SimpleNamespace(by_arguments={})
            model._explainers.by_arguments[key] = explainer
        return explainer.explain(images, target, batch_size=batch_size, verbose=verbose)
