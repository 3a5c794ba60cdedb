"""The one table of Keras' layers and operations: linear map, DeepLIFT's rule, and use in presets.

A new layer of Keras is one entry in `LAYERS`; an operation of `keras.ops` is one entry in `OPERATIONS`. A user's own
layer needs no entry: it has a method `linear_map(inputs)` that returns `(outputs, LinearMap)`, as the DAU layers do.
"""

import dataclasses
from collections.abc import Callable

import keras
from keras import layers, ops

from keras_coda.linear_maps import joins, operations, rules
from keras_coda.linear_maps.by_gradient import elementwise_function


@dataclasses.dataclass(frozen=True)
class Known:
    """An entry of the table.

    Attributes:
        linear_map: function that returns outputs and linear map, see `rules`, `joins` and `operations`. `None`: the
            layer is not dynamic linear, or has no linear map here.
        pieces: the same for a piecewise linear layer, used with `piecewise_linear=True` only.
        deep_lift: DeepLIFT's rule: "linear", "rescale", "multiply", "max_pooling" or "global_max_pooling", see
            `keras_coda.attributions.DeepLIFT`. `None`: there is no rule.
        in_presets: whether a preset may have this layer.
    """

    linear_map: Callable | None = None
    pieces: Callable | None = None
    deep_lift: str | None = None
    in_presets: bool = False


def _linear(rule, in_presets=True):
    return Known(rule, None, "linear", in_presets)


_UNCHANGED = _linear(rules.identity_layer)
# Augmentation of images in training. In inference these layers do nothing.
AUGMENTATION = _linear(rules.identity_layer, in_presets=False)
_BY_GRADIENT = _linear(rules.by_gradient, in_presets=False)
_PIECEWISE = Known(None, elementwise_function, "rescale")
_NONLINEAR = Known(None, None, "rescale")

LAYERS: dict = {
    layers.InputLayer: _UNCHANGED,
    layers.Identity: _UNCHANGED,
    layers.ActivityRegularization: _UNCHANGED,
    layers.Dropout: _UNCHANGED,
    layers.SpatialDropout2D: _UNCHANGED,
    layers.GaussianDropout: _UNCHANGED,
    layers.GaussianNoise: _UNCHANGED,
    # For the activation "linear". `steps.layer_map` treats other activations, of this layer and of all others.
    layers.Activation: Known(rules.identity_layer, None, "rescale", in_presets=True),
    layers.Rescaling: _linear(rules.rescaling),
    layers.Flatten: _linear(rules.flatten),
    layers.Reshape: _linear(rules.reshape),
    layers.Permute: _linear(rules.permute),
    layers.ZeroPadding2D: _linear(rules.zero_padding2d),
    layers.Cropping2D: _linear(rules.cropping2d),
    layers.UpSampling2D: _linear(rules.up_sampling2d),
    layers.GlobalAveragePooling2D: _linear(rules.global_average_pooling2d),
    layers.AveragePooling2D: _linear(rules.average_pooling2d),
    layers.BatchNormalization: _linear(rules.batch_normalization, in_presets=False),
    layers.Dense: _linear(rules.dense),
    layers.Conv2D: _linear(rules.conv2d),
    layers.DepthwiseConv2D: _linear(rules.depthwise_conv2d),
    layers.SeparableConv2D: _linear(rules.separable_conv2d),
    layers.Add: _linear(joins.add),
    layers.Subtract: _linear(joins.subtract),
    layers.Average: _linear(joins.average),
    layers.Concatenate: _linear(joins.concatenate),
    layers.Resizing: _BY_GRADIENT,
    layers.CenterCrop: _BY_GRADIENT,
    layers.RandomFlip: AUGMENTATION,
    layers.RandomTranslation: AUGMENTATION,
    layers.RandomRotation: AUGMENTATION,
    layers.RandomZoom: AUGMENTATION,
    layers.RandomContrast: AUGMENTATION,
    layers.RandomBrightness: AUGMENTATION,
    layers.ReLU: _PIECEWISE,
    layers.LeakyReLU: _PIECEWISE,
    layers.PReLU: _PIECEWISE,
    layers.MaxPooling2D: Known(None, rules.max_pooling2d, "max_pooling"),
    layers.GlobalMaxPooling2D: Known(None, rules.global_max_pooling2d, "global_max_pooling"),
    layers.ELU: _NONLINEAR,
    layers.Softmax: _NONLINEAR,
    layers.Multiply: Known(None, None, "multiply"),
    # Linear, but without a map here.
    layers.Conv2DTranspose: Known(None, None, "linear"),
    layers.Normalization: Known(None, None, "linear"),
}

# Operations of `keras.ops` have no public classes, only these names.
# fmt: off
_REARRANGING = (
    "Reshape", "Transpose", "Moveaxis", "Swapaxes", "Squeeze", "ExpandDims", "GetItem", "Split", "Pad", "Flip", "Roll",
    "Tile", "Repeat", "Take", "Mean", "Sum", "Resize", "AveragePool",
)
_OTHER_LINEAR = (
    "Average", "Ravel", "Slice", "Unstack", "Stack", "Hstack", "Vstack", "Dstack", "BroadcastTo", "Conv",
    "DepthwiseConv", "SeparableConv", "ConvTranspose", "AdaptiveAveragePool", "DepthToSpace", "SpaceToDepth",
)
_PIECEWISE_OPERATIONS = (
    "Relu", "ReLU", "Relu6", "LeakyRelu", "HardSigmoid", "HardTanh", "HardShrink", "SoftShrink", "Threshold",
    "Absolute", "Abs", "Clip", "Maximum", "Minimum",
)
_OTHER_ELEMENTWISE = (
    "Elu", "Selu", "Celu", "Gelu", "Silu", "Mish", "Sigmoid", "LogSigmoid", "SparseSigmoid", "HardSilu", "Tanh",
    "TanhShrink", "Softplus", "Softsign", "SparsePlus", "Squareplus", "Softmax", "LogSoftmax", "Square", "Sqrt",
    "Rsqrt", "Power", "Reciprocal", "Exp", "Expm1", "Log", "Log1p", "Log2", "Log10", "Sin", "Cos", "Tan", "Arctan",
    "Sinh", "Cosh", "Erf",
)
# fmt: on
OPERATIONS: dict = {
    **dict.fromkeys(_REARRANGING, _linear(operations.rearrange, in_presets=False)),
    **dict.fromkeys(_OTHER_LINEAR, Known(None, None, "linear")),
    **dict.fromkeys(_PIECEWISE_OPERATIONS, Known(None, operations.by_pieces, "rescale")),
    **dict.fromkeys(_OTHER_ELEMENTWISE, _NONLINEAR),
    "Add": _linear(operations.add, in_presets=False),
    "Subtract": _linear(operations.subtract, in_presets=False),
    "Negative": _linear(operations.negative, in_presets=False),
    "Concatenate": _linear(operations.concatenate, in_presets=False),
    "Cast": _linear(operations.cast, in_presets=False),
    "Copy": _linear(operations.cast, in_presets=False),
    "Divide": Known(operations.divide, None, "rescale"),
    "TrueDivide": Known(operations.divide, None, "rescale"),
    "Multiply": Known(operations.multiply, None, "multiply"),
    "Matmul": Known(operations.matmul, None, "multiply"),
    "MaxPool": Known(None, None, "max_pooling"),
}

# Piecewise linear activations given as functions. Those given as layers or operations are in the tables.
_PIECEWISE_FUNCTIONS = (
    *(getattr(keras.activations, name) for name in ("relu", "leaky_relu", "relu6", "hard_sigmoid", "hard_tanh")),
    *(getattr(ops, name) for name in ("relu", "leaky_relu", "relu6", "hard_sigmoid", "hard_tanh")),
)

# Methods that a subclass may override and still compute the same as its parent.
_MAY_BE_OVERRIDDEN = {
    "build",
    "quantize",
    "get_config",
    "from_config",
    "get_build_config",
    "build_from_config",
    "compute_output_shape",
    "compute_output_spec",
    "save_own_variables",
    "load_own_variables",
}
_NOTHING = Known()


def known(operation: keras.Operation) -> Known:
    """The entry of a layer, or of an operation of `keras.ops`; an empty `Known` where there is none.

    A subclass of a layer in the table has its entry, unless it overrides a method that computes. Quantized layers have
    none, since they compute with rounded numbers.
    """
    if isinstance(operation, keras.Layer):
        cls = next((cls for cls in type(operation).__mro__ if cls in LAYERS), None)
        if cls is None or overridden(operation, cls) or getattr(operation, "quantization_mode", None) is not None:
            return _NOTHING
        return LAYERS[cls]
    is_of_keras = type(operation).__module__.startswith("keras.")
    return OPERATIONS.get(type(operation).__name__, _NOTHING) if is_of_keras else _NOTHING


def overridden(layer: keras.Layer, cls: type) -> set[str]:
    """The names of the methods that a layer overrides of its parent class `cls`, without harmless ones."""
    derived = type(layer).__mro__[: type(layer).__mro__.index(cls)]
    by_classes = {name for child in derived for name in vars(child) if hasattr(cls, name)}
    by_itself = {name for name in vars(layer) if callable(getattr(cls, name, None))}
    names = (by_classes | by_itself) - _MAY_BE_OVERRIDDEN
    return {name for name in names if name == "__call__" or not name.startswith("__")}


def is_piecewise_linear(activation: Callable | None) -> bool:
    """Whether an activation, a function or a layer, is piecewise linear, as ReLU is."""
    if isinstance(activation, keras.Layer):
        return known(activation).pieces is not None
    return any(activation is function for function in _PIECEWISE_FUNCTIONS)
