"""Hybrids: a stem of any kind, with DAU layers on its features, by which decisions are explained."""

from collections.abc import Callable, Sequence

import keras

from keras_coda.layers import ContributionSource
from keras_coda.layers.logit_scaling import LOGIT_BIAS
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.layout import data_format
from keras_coda.models.dau_stack import dau_stack


def hybrid(
    stem: keras.Model,
    layer: keras.Layer | str,
    filters: Sequence[int],
    kernel_sizes: Sequence[int],
    ranks: Sequence[int],
    strides: Sequence[int] | None = None,
    temperature: float = 1.0,
    logit_bias: float = LOGIT_BIAS,
    rescaling: str | Callable = "sq",
    use_bias: bool = True,
    train_stem: bool = False,
    name: str = "hybrid",
) -> keras.Model:
    """A classifier of images: a stem, cut at a layer, and `DAUConv2D` layers on the features at the cut.

    Logits are decomposed exactly into contributions of these features. How the stem computes its features is not
    explained. `Explanation.over_image` enlarges contribution maps to the image's size.

    Args:
        stem: a built Sequential or Functional model of images with one input, such as one of `keras.applications`. It
            is not changed: its layers and weights are copied.
        layer: the layer to cut at, or its name. Its outputs must be `(N, h, w, c)`.
        filters, kernel_sizes, ranks: integers, for each DAU layer, as of a `CoDANet`. The last of the filters is the
            number of classes.
        strides: integers, for each DAU layer. Default: 1.
        temperature, logit_bias, rescaling, use_bias: see `CoDANet`.
        train_stem: whether `fit` trains the stem, too. If not, its normalisation layers are in inference mode.
        name: the model's name.

    Returns:
        A Functional Keras model of images to logits `(N, classes)`. Train it by `compile` and `fit`, with
        `keras_coda.OneVsRestCrossentropy` as the loss, and explain it by `keras_coda.explain`.

    Raises:
        ValueError: lists of different length; the stem is not of this form, or has no such layer.

    Example:

    >>> stem = keras.applications.ResNet50(include_top=False, input_shape=(224, 224, 3))  # doctest: +SKIP
    >>> model = keras_coda.models.hybrid(  # doctest: +SKIP
    ...     stem, "conv4_block6_out", [64, 10], [3, 1], [32, 32], temperature=100.0
    ... )
    >>> explanation = keras_coda.explain(model, photos)  # doctest: +SKIP
    >>> explanation.over_image(224, 224).contribution_map.shape  # doctest: +SKIP
    (32, 224, 224)
    """
    if strides is None:
        strides = [1] * len(filters)
    features = _cut(stem, layer)
    features.trainable = train_stem
    layout = data_format(graph := Graph.of(features), graph.outputs[0])
    sizes = (filters, kernel_sizes, ranks, strides)

    images = keras.Input(features.inputs[0].shape[1:], dtype=features.inputs[0].dtype, name="images")
    x = ContributionSource(name="features")(features(images))
    for step in dau_stack(*sizes, temperature, logit_bias, rescaling, use_bias, layout):
        x = step(x)
    return keras.Model(images, x, name=name)


def _cut(stem, layer):
    """A copy of the part of a stem up to a layer."""
    if not isinstance(stem, keras.Model) or len(getattr(stem, "inputs", None) or []) != 1:
        raise ValueError(f"Expected a built Sequential or Functional model with one input. Received: stem={stem!r}")
    Graph.of(stem)  # raises an error where the stem has its own `call`, which would be lost
    layer = layer if isinstance(layer, keras.Layer) else stem.get_layer(layer)
    if len(layer.output.shape) != 4:
        raise ValueError(f"The stem must be cut where it has images. Received: {layer.name!r} of {layer.output.shape}")
    features = keras.Model(stem.inputs, layer.output)
    copied = keras.models.clone_model(features)
    copied.set_weights(features.get_weights())
    return keras.Model(copied.inputs[0], copied.outputs[0], name="stem")
