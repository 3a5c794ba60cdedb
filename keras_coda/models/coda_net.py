"""Convolutional Dynamic Alignment Networks."""

import math
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_coda import backend
from keras_coda.backend.conventions import Tensor, channels_last, in_format, standardize_data_format
from keras_coda.checks import pair
from keras_coda.explanations import Explanation, explainer
from keras_coda.layers import InputEncoding
from keras_coda.layers import rescaling as rescalings
from keras_coda.layers.logit_scaling import LOGIT_BIAS
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.linear_maps import Graph, follows_graph, linear_map_through
from keras_coda.losses import to_one_hot
from keras_coda.models import class_names as names_of_classes
from keras_coda.models import preset_methods
from keras_coda.models.dau_stack import dau_stack
from keras_coda.models.image_model import ImageModel
from keras_coda.models.sizes import CLASSES, SIZES

PENALIZED_CLASSES = ("target_and_other", "all")


@keras.saving.register_keras_serializable(package="keras_coda")
class CoDANet(ImageModel):
    """A Convolutional Dynamic Alignment Network (paper, 3.3): an image classifier that explains itself.

    The image is encoded as [r, g, b, 1 - r, 1 - g, 1 - b]. `DAUConv2D` layers with symmetric padding follow, the last
    of which has a filter for each class. Its outputs are summed over positions. Each layer is a matrix that depends on
    its input, and so is their product W(x):

        logits = W(x) x / T + b0                                (paper, eq. 9, without the sigmoid)

    `explain` decomposes the logits exactly into contributions of the input's pixels (paper, eq. 8). The network has no
    normalisation, residual connections or dropout, and takes images of any size.

    Train it with plain `compile` and `fit`, with `keras_coda.losses.OneVsRestCrossentropy` as the loss.

    Args:
        filters: integers, filters of each layer. The last is the number of classes.
        kernel_sizes, ranks, strides: integers, for each layer.
        temperature: T, a positive number. Higher temperatures lead to better aligned weights. Start with 1000 for
            images of 32 x 32 pixels.
        logit_bias: b0, a fixed number. Default: log(0.1 / 0.9), as published.
        rescaling: "sq" or "l2" (paper, eq. 2), or a function of the norm, see `DAUConv2D`.
        use_bias: whether the DAUs have the term b.
        add_negative: whether images are encoded with their negative, as in the paper. Without it, black pixels
            contribute nothing, which suits bright strokes on black.
        penalty: lambda, the weight in the loss of the mean absolute entry of W(x) / T (paper, eq. 10). The paper does
            not mention T here, but the published values of lambda include it. The penalty costs one more forward pass
            and two passes of the transposed maps in training. Sample weights apply to it as well.
        penalized_classes: the rows of W(x) in the penalty: "target_and_other" (the target class and one random other
            class of each image, as published) or "all".
        image_shape: shape of the images without the batch axis; sizes may be `None` (any). Integer images are
            divided by 255; float images must be in [0, 1].
        class_names: strings, the names of the classes in the order of the logits, for `explain(target="cat")`. Default:
            none.
        image_size: `(height, width)` of the training images, in pixels. Images of another size raise a warning, since
            logits are sums over positions and grow with the image's area. Default: the sizes in `image_shape`, or none
            where one is `None`.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        seed: for the random other classes of `penalty`.
        **kwargs: `name`, `dtype` and `trainable` of every Keras model. Pooling and logits are in at least float32.

    Input shape:
        `(N, H, W, C)`, or `(N, C, H, W)` with "channels_first".

    Output shape:
        `(N, classes)`, logits.

    Attributes:
        temperature, logit_bias, class_names, image_size: as above. They can be set.
        value_range: (0.0, 1.0), the range of float images. The configuration contains it, and one with another range
            is refused.

    Raises:
        ValueError: lists of different length, or an argument of another form. Images out of range: in `explain`,
            `fit`, `evaluate` and `predict` (of data sets, the first batch is checked), and when called on values. In a
            compiled graph the logits of such an image are NaN, see `InputEncoding`. Labels that are no classes: see
            `keras_coda.losses.OneVsRestCrossentropy`.

    Inside another Keras model, that model's `keras.Input` casts the images. For integer images it must be
    `keras.Input(shape, dtype="uint8")`: cast to floats, they would be out of range, unless none of their values is
    above 1. The same holds for the models that `keras.models.clone_model` returns.

    Example:

    >>> model = keras_coda.CoDANet(filters=[16, 32, 10], kernel_sizes=[3, 3, 1], ranks=[16, 16, 16],
    ...                            strides=[1, 2, 1], temperature=100.0, image_shape=(16, 16, 1))
    >>> model.compile("adam", keras_coda.losses.OneVsRestCrossentropy(), metrics=["accuracy"])
    >>> model.fit(x_train, y_train)
    >>> explanation = model.explain(x_test[:8])
    """

    value_range = (0.0, 1.0)

    def __init__(
        self,
        filters: Sequence[int],
        kernel_sizes: Sequence[int],
        ranks: Sequence[int],
        strides: Sequence[int],
        temperature: float = 1.0,
        logit_bias: float = LOGIT_BIAS,
        rescaling: str | Callable = "sq",
        use_bias: bool = True,
        add_negative: bool = True,
        penalty: float = 0.0,
        penalized_classes: str = "target_and_other",
        image_shape: Sequence[int | None] | None = None,
        class_names: Sequence[str] | None = None,
        image_size: Sequence[int] | None = None,
        data_format: str | None = None,
        seed: int | None = None,
        dtype: Any = None,
        **kwargs,
    ):
        unknown = sorted(kwargs.keys() - {"name", "trainable"})
        if unknown:  # Keras would ignore them
            raise ValueError(f"Unknown arguments of a CoDANet. Expected: those it has. Received: {unknown}")
        if not penalty >= 0:
            raise ValueError(f"`penalty` must not be negative. Received: {penalty!r}")
        if penalized_classes not in PENALIZED_CLASSES:
            raise ValueError(f"`penalized_classes` must be one of {PENALIZED_CLASSES}. Received: {penalized_classes!r}")
        data_format = standardize_data_format(data_format)
        if image_shape is None:
            image_shape = in_format((None, None, 3), data_format)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        common = {"data_format": data_format, "dtype": policy}
        sizes = (filters, kernel_sizes, ranks, strides)
        steps = [
            InputEncoding(add_negative=add_negative, name="encoding", **common),
            *dau_stack(*sizes, temperature, logit_bias, rescaling, use_bias, **common),
        ]

        if penalty and penalized_classes == "target_and_other" and filters[-1] < 2:
            raise ValueError('`penalized_classes="target_and_other"` needs two classes. Received: filters[-1]=1')
        inputs = keras.Input(image_shape, name="images", dtype=policy.compute_dtype)
        outputs = inputs
        for step in steps:
            outputs = step(outputs)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        # Functional models do not set this. `compile` reads it to decide on loss scaling, for float16.
        self.dtype_policy = policy

        self.filters = list(filters)
        self.kernel_sizes = list(kernel_sizes)
        self.ranks = list(ranks)
        self.strides = list(strides)
        self.rescaling = rescalings.get(rescaling)
        self.use_bias = use_bias
        self.add_negative = add_negative
        self.penalty = penalty
        self.penalized_classes = penalized_classes
        self.image_shape = tuple(image_shape)
        self.data_format = data_format
        self.class_names = class_names
        self.image_size = self._sizes_of(self.image_shape) if image_size is None else image_size
        self.seed = seed
        if penalty:
            self._other_classes = keras.random.SeedGenerator(seed)
            self._penalty_tracker = keras.metrics.Mean(name="penalty")

    @classmethod
    def from_size(cls, size: str, classes: int | None = None, **kwargs) -> "CoDANet":
        """One of the paper's networks, untrained.

        S and L are as published. The paper does not give the layers of M and XL. Ours follow S and L, and have the
        paper's 28 and 62 million parameters.

        Args:
            size: "s", "m" (32 x 32 images, 10 classes), "l" (240 x 240, 100 classes) or "xl" (64 x 64, 200 classes).
            classes: integer, number of classes. Default: as in the paper.
            **kwargs: further arguments of `CoDANet`. They replace those of the size.

        Returns:
            A `CoDANet`.

        Raises:
            ValueError: unknown size.

        Example:

        >>> keras_coda.CoDANet.from_size("s").count_params()
        7782816
        """
        if size not in SIZES:
            raise ValueError(f"`size` must be one of {list(SIZES)}. Received: {size!r}")
        layers = SIZES[size]
        filters = [*layers["filters"], CLASSES[size] if classes is None else classes]
        return cls(**{**layers, "filters": filters, "name": f"{size}_coda", **kwargs})

    @classmethod
    def from_preset(
        cls,
        preset: Any,
        load_weights: bool = True,
        *,
        classes: Any = None,
        freeze: Sequence[str] = (),
        dtype: Any = None,
        data_format: str | None = None,
    ) -> "CoDANet":
        """Load a pretrained network, by the method that KerasHub's models have.

        Args:
            preset: name, folder or address, see `keras_coda.presets.load`.
            load_weights: whether to load the weights, too.
            classes, freeze, dtype, data_format: see `keras_coda.presets.load`.

        Returns:
            A `CoDANet`.

        Raises:
            ValueError: the preset is no `CoDANet`; or an error of `keras_coda.presets.load`.

        Example:

        >>> model = keras_coda.CoDANet.from_preset("xs_coda_cifar10", classes=["daisy", "tulip"])
        """
        arguments = {"classes": classes, "freeze": freeze, "dtype": dtype, "data_format": data_format}
        return preset_methods.load(cls, preset, load_weights, **arguments)

    def save_to_preset(self, preset_dir: str | os.PathLike, **facts) -> pathlib.Path:
        """Write the network as a preset, by `keras_coda.presets.save`.

        Args:
            preset_dir: path of the folder, which is created.
            **facts: further arguments of `keras_coda.presets.save`. Defaults: `dataset=""`, and as classes the model's
                `class_names`, or their numbers.

        Returns:
            The folder, a `pathlib.Path`.

        Raises:
            PresetError: see `keras_coda.presets.save`.

        Example:

        >>> model.save_to_preset("my_preset", dataset="digits", classes=classes)
        """
        return preset_methods.save(self, preset_dir, **facts)

    # The presets that `from_preset` knows by name: a dict to their `PresetInfo`.
    presets = preset_methods.Known()

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.filters[-1]

    @property
    def temperature(self) -> float:
        return self.get_layer("logits").temperature

    @temperature.setter
    def temperature(self, value):
        if not 0 < value < math.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {value!r}")
        self._set_logits("temperature", float(value))

    @property
    def logit_bias(self) -> float:
        return self.get_layer("logits").bias

    @logit_bias.setter
    def logit_bias(self, value):
        self._set_logits("bias", float(value))

    def _set_logits(self, name, value):
        setattr(self.get_layer("logits"), name, value)
        # Compiled programs have the former value.
        for job in ("train", "test", "predict"):
            if getattr(self, f"{job}_function") is not None:
                getattr(self, f"make_{job}_function")(force=True)

    @property
    def class_names(self) -> list[str] | None:
        return self._class_names

    @class_names.setter
    def class_names(self, names):
        self._class_names = names_of_classes.checked(names, self.classes)

    @property
    def image_size(self) -> tuple[int, int] | None:
        return self._image_size

    @image_size.setter
    def image_size(self, size):
        if size is None or None in (size if isinstance(size, (tuple, list)) else ()):
            self._image_size = None
            return
        self._image_size = pair(size, "image_size")

    def _sizes_of(self, shape):
        """Height and width from the shape of an image or of a batch."""
        return channels_last(shape[-3:], self.data_format)[:2]

    def _check_size(self, images):
        """Warn about images of another size than the training images."""
        size = self._sizes_of(images.shape)
        # In a graph that is being exported, sizes may be symbols.
        known = len(images.shape) == 4 and all(type(n) is int for n in size)
        if known and self.image_size is not None and size != self.image_size:
            warnings.warn(
                f"Model {self.name!r} was trained on images of {self.image_size[0]} x {self.image_size[1]} pixels. "
                f"Received: {size[0]} x {size[1]}. Logits are sums over positions, so that they grow with the area. "
                "Scale the images to the training's size, or set `model.image_size`.",
                stacklevel=3,
            )

    def _images_of(self, inputs):
        """The images of any form of inputs that Keras takes: in a dict or list, or gray without an axis of channels."""
        [images] = keras.tree.flatten(inputs)
        expected = self.inputs[0].shape
        gray = expected[-1] == 1 and len(images.shape) == len(expected) - 1
        return ops.expand_dims(images, -1) if gray else images

    @follows_graph
    def call(self, inputs, training=None, mask=None):
        inputs = self._images_of(inputs)
        self._check_size(inputs)
        # Before Keras casts the images to floats, so that integer images are recognised.
        return super().call(to_unit_range(inputs, check=False), training=training, mask=mask)

    def explain(
        self,
        images: Any,
        target: Any = None,
        *,
        layer: keras.Layer | str | None = None,
        source: Any = None,
        dtype: Any = None,
        batch_size: int = 32,
        verbose: int = 0,
    ) -> Explanation:
        """Explain the model's outputs for a batch of images.

        The logit of a class is the sum of the contributions of the encoded image, plus b0 (paper, eq. 8 and 9):

            logits = explanation.logits[np.arange(N), explanation.targets]
            explanation.contributions.sum((1, 2, 3)) + explanation.bias == logits  # up to rounding

        Args:
            images: array or tensor `(N, H, W, C)` (or as the model takes them): floats in [0, 1], or integers in
                0..255.
            target: what to explain. `None`: the predicted class of each image. "all": all classes. Integers, or names
                such as "cat" if the model has `class_names`: one class for all images, `(N,)` for one an image, or
                `(N, K)` for K an image. For an inner `layer`, a unit is 3 integers, its index in the layer's output:
                `(3,)`, `(N, 3)` or `(N, K, 3)`.
            layer: the layer to explain, or its name, such as "dau_3". Default: the logits.
            source: the layer whose outputs contribute, or its name. Default: the encoded image.
            dtype: dtype policy to explain in: "float32" for a model in low precision. Default: the model's own.
            batch_size: images explained at once.
            verbose: 1 shows a progress bar.

        Returns:
            An `Explanation` with logits, targets, weights, contributions, the contribution map, bias and
            completeness residual.

        Raises:
            ValueError: images of another shape, out of range or NaN; a target out of range, or with another name than
                the classes; an unknown layer.
            NotDynamicLinearError: a layer that was changed is no dynamic linear one.

        Example:

        >>> explanation = model.explain(images, target=[[3, 5]] * len(images))
        >>> explanation.contribution_map.shape
        (2, 2, 16, 16)
        """
        if layer is None:
            target = names_of_classes.to_indices(target, self.class_names)
        self._check_size(images if hasattr(images, "shape") else np.asarray(images))
        return explainer.explain(
            self, images, target, layer=layer, source=source, dtype=dtype, batch_size=batch_size, verbose=verbose
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not self.penalty:
            return loss
        penalty = self.linear_map_penalty(x, y, sample_weight)
        self._log_penalty(penalty, y_pred, sample_weight)
        return loss + ops.cast(self.penalty / backend.replicas() * penalty, loss.dtype)

    def _log_penalty(self, penalty, y_pred, sample_weight):
        # As Keras logs the loss: a mean over images, not over batches.
        self._penalty_tracker.update_state(penalty, sample_weight=ops.shape(y_pred)[0])

    def linear_map_penalty(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The mean absolute entry of W(x) / T, the map from the input to the logits (paper, eq. 10), differentiable.

        Args:
            x: tensor of images, as the model takes them.
            y: integer labels `(N,)` or `(N, 1)`, or one-hot targets `(N, classes)`.
            sample_weight: `(N,)` or `(N, 1)`, the images' weights in the mean, as in the loss. Default: 1.

        Returns:
            A float scalar. With "target_and_other" classes, the mean over two rows for each image.

        Raises:
            ValueError: the model has no `penalty`, so that it cannot draw other classes.

        Example:

        >>> model = keras_coda.CoDANet([16, 10], [4, 1], [8, 8], [2, 1], penalty=0.5, image_shape=(16, 16, 1))
        >>> model.linear_map_penalty(images, labels)
        """
        if not self.penalty and self.penalized_classes != "all":
            raise ValueError("Expected a model with a `penalty` above 0. Received: penalty=0")
        encoding, *layers, _ = Graph.of(self).steps
        encoded = encoding.operation(to_unit_range(self._images_of(x), check=False), training=True)
        outputs, W = linear_map_through([step.operation for step in layers], encoded)
        if self.penalized_classes == "all":
            rows = ops.broadcast_to(
                ops.expand_dims(ops.eye(self.classes, dtype=outputs.dtype), 1),
                (self.classes, *ops.shape(outputs)),
            )
        else:
            target = ops.argmax(to_one_hot(y, self.classes), axis=-1)
            step = keras.random.randint(ops.shape(target), 1, self.classes, seed=self._other_classes)
            other = ops.mod(ops.cast(target, "int32") + step, self.classes)
            rows = ops.one_hot(ops.stack([ops.cast(target, "int32"), other]), self.classes, dtype=outputs.dtype)
        entries = ops.abs(ops.cast(W.T @ rows, outputs.dtype))
        of_images = ops.mean(entries, axis=[0, *range(2, len(entries.shape))])
        if sample_weight is not None:
            of_images = of_images * ops.cast(ops.reshape(sample_weight, (-1,)), of_images.dtype)
        # T divides the mean: in float16 it could round small entries to zero.
        return ops.mean(of_images) / self.temperature

    def get_config(self) -> dict:
        frozen = [layer.name for layer in self.layers if not layer.trainable]
        return {
            "filters": self.filters,
            "kernel_sizes": self.kernel_sizes,
            "ranks": self.ranks,
            "strides": self.strides,
            "temperature": self.temperature,
            "logit_bias": self.logit_bias,
            "rescaling": rescalings.serialize(self.rescaling),
            "use_bias": self.use_bias,
            "add_negative": self.add_negative,
            "penalty": self.penalty,
            "penalized_classes": self.penalized_classes,
            "image_shape": self.image_shape,
            "class_names": None if self.class_names is None else [*self.class_names],
            "image_size": self.image_size,
            "value_range": self.value_range,
            "data_format": self.data_format,
            "seed": self.seed,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            # Not an argument of `CoDANet`, but set by `from_config`.
            **({"frozen": frozen} if frozen else {}),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "CoDANet":
        config = {**config}
        value_range = tuple(config.pop("value_range", cls.value_range))
        if value_range != cls.value_range:
            raise ValueError(f"`value_range` must be {cls.value_range}. Received: {value_range}")
        frozen = config.pop("frozen", ())
        with keras.saving.CustomObjectScope(custom_objects or {}):
            model = cls(**config)
        for name in frozen:
            model.get_layer(name).trainable = False
        return model
