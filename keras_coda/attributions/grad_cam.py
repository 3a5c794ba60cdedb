"""Grad-CAM: the channels of a layer, each weighted by the mean gradient in it."""

import keras
from keras import layers, ops

from keras_coda.attributions import graph
from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.pull_back import PullBack, pulled_back
from keras_coda.layers import DAUConv2D

INTERPOLATIONS = ("bilinear", "nearest")
_CONVOLUTIONS = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.Conv2DTranspose,
    DAUConv2D,
)


class GradCAM(Attribution):
    """A layer's channels A_c, weighted by the gradients in them (Selvaraju et al., 2017): `(N, H, W)`, not negative.

    `relu(sum_c mean(dy / dA_c) A_c)`, with the mean over positions, enlarged to the size of the image. The
    layer may be in a branch, or in a nested model. Its output is taken after an activation of its own.

    Args:
        model: see `Attribution`.
        layer: the layer whose outputs are A, or its name. Default: the last convolution or `DAUConv2D`.
        batch_size: integer, how many images the model is given at once.
        input: "encoded" or "image", see `Attribution`. It makes no difference to layers after the encoding.
        interpolation: "bilinear" or "nearest", how the map is enlarged.

    Raises:
        ValueError: the layer is not between the (encoded) image and the outputs, has no channels of an image, or is
            used more than once; there is no convolution; `interpolation` is neither.

    Example:

    >>> keras_coda.attributions.GradCAM(keras.applications.ResNet50())(images).shape  # doctest: +SKIP
    (32, 224, 224)
    """

    def __init__(self, model, layer=None, batch_size=32, input="encoded", interpolation="bilinear"):
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"`interpolation` must be one of {INTERPOLATIONS}. Received: {interpolation!r}")
        super().__init__(model, batch_size, input)
        self.interpolation = interpolation
        self.layer = _find(self.classifier.network, layer)
        self._maps = _Maps(self.classifier, self.layer)

    def _attribute(self, images, source, targets, verbose):
        maps = self._maps.gradients(source, targets, self.batch_size, verbose)
        size = [source.shape[axis] for axis in self.classifier.pixel_axes]
        # The targets take the place of channels.
        large = ops.image.resize(maps, size, interpolation=self.interpolation, data_format="channels_first")
        return ops.convert_to_numpy(large)


class _Maps(PullBack):
    """Grad-CAM in the size of the layer's output."""

    def __init__(self, classifier, layer):
        super().__init__(classifier)
        self.layer = layer
        first = getattr(layer, "data_format", classifier.data_format) == "channels_first"
        self._channel_axis, self._pixel_axes = (-3, (-2, -1)) if first else (-1, (-3, -2))

    def call(self, inputs):
        source = inputs["source"]

        def with_offset(offset):
            """The outputs, as a function of what is added to each of the layer's channels, everywhere."""
            features = []

            def replace(operation):
                if operation is not self.layer:
                    return operation

                def call(*args, **kwargs):
                    features.append(self.layer(*args, **kwargs))
                    return features[-1] + ops.expand_dims(offset, self._pixel_axes)

                return call

            outputs = graph.run(self.network, source, replace)
            if len(features) != 1:
                raise ValueError(
                    f"Grad-CAM needs a layer that is used once. Received: layer {self.layer.name!r}, which the model "
                    f"uses {len(features)} times"
                )
            return outputs, features[0]

        channels = self.layer.output.shape[self._channel_axis]
        offset = ops.zeros((ops.shape(source)[0], channels), self.layer.compute_dtype)
        # The gradients in the offsets are the sums over positions of those in the layer's output.
        sums, features = pulled_back(with_offset, offset, inputs["targets"])
        features = ops.cast(ops.moveaxis(features, self._channel_axis, 1), "float32")
        height, width = ops.shape(features)[2:]
        return ops.relu(ops.einsum("nkc,nchw->nkhw", sums, features) / ops.cast(height * width, "float32"))


def _find(network, layer):
    """The layer `layer` of a network, given as it is or by its name; of `None`, the last convolution."""
    known = [operation for operation in graph.operations(network) if isinstance(operation, keras.layers.Layer)]
    if layer is None:
        convolutions = [candidate for candidate in known if isinstance(candidate, _CONVOLUTIONS)]
        if not convolutions:
            raise ValueError(
                "Grad-CAM needs a convolutional layer. Name the layer to use, one with outputs (N, H, W, C). "
                f"Received: a model of the layers {[candidate.name for candidate in known]}"
            )
        return convolutions[-1]
    found = [candidate for candidate in known if candidate is layer or candidate.name == layer]
    if len(found) != 1:
        raise ValueError(
            "`layer` must be one layer between the (encoded) image and the outputs, or its name: one of "
            f"{[candidate.name for candidate in known]}. Received: {layer!r}"
        )
    shape = found[0].output.shape
    if len(shape) != 4:
        raise ValueError(f"`layer` must have outputs (N, H, W, C). Received: layer {found[0].name!r} with {shape}")
    return found[0]
