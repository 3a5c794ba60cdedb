"""Grad-CAM: the channels of a layer, weighted by their mean gradients."""

import keras
from keras import ops

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.pull_back import PullBack, pulled_back
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.layout import channel_axis

INTERPOLATIONS = ("bilinear", "nearest")


class GradCAM(Attribution):
    """Grad-CAM: a layer's channels A_c, weighted by their mean gradients (Selvaraju et al., 2017), `(N, H, W)`.

    `relu(sum_c mean(dy / dA_c) A_c)`, with the mean over positions, enlarged to the size of the image. Maps are not
    negative. The layer may be in a branch, or in a nested model. Its own activation is part of A.

    Args:
        model: see `Attribution`.
        layer: the layer whose outputs are A, or its name. Default: the last layer of images with a `kernel_size`, such
            as `Conv2D` and `DAUConv2D`, and with more than one position.
        batch_size: integer, how many images the model gets at once.
        input: "encoded" or "image", see `Attribution`. For layers after the encoding, both are the same.
        interpolation: "bilinear" or "nearest", how the map is enlarged.

    Raises:
        ValueError: the layer is not between the (encoded) image and the outputs, has no channels of an image, or is
            used more than once; there is no convolution; `interpolation` is neither.

    Example:

    >>> keras_coda.attributions.GradCAM(keras.applications.ResNet50())(images).shape  # doctest: +SKIP
    (32, 224, 224)
    """

    def __init__(
        self,
        model: keras.Model,
        layer: keras.Layer | str | None = None,
        batch_size: int = 32,
        input: str = "encoded",
        interpolation: str = "bilinear",
    ):
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"`interpolation` must be one of {INTERPOLATIONS}. Received: {interpolation!r}")
        super().__init__(model, batch_size, input)
        self.interpolation = interpolation
        self.layer = _find(self.classifier.operations, layer)
        self._maps = _Maps(self.classifier, self.layer)

    def _attribute(self, images, source, targets, verbose):
        maps = self._maps.gradients(source, targets, self.batch_size, verbose)
        size = [source.shape[axis] for axis in self.classifier.pixel_axes]
        # The axis of targets serves as that of channels.
        large = ops.image.resize(maps, size, interpolation=self.interpolation, data_format="channels_first")
        return ops.convert_to_numpy(large)


class _Maps(PullBack):
    """Grad-CAM's maps in the size of the layer's output."""

    def __init__(self, classifier, layer):
        super().__init__(classifier)
        self.layer = self.classifier.operations[classifier.operations.index(layer)]
        features = next(step.results[0] for step in classifier.graph.steps if step.operation is layer)
        self._channel_axis = channel_axis(Graph.of(classifier.model), features)
        self._pixel_axes = [axis for axis in (1, 2, 3) if axis != self._channel_axis]

    def call(self, inputs):
        source = inputs["source"]

        def with_offset(offset):
            """The outputs, as a function of a constant that is added to each of the layer's channels."""
            features = []

            def replace(operation):
                if operation is not self.layer:
                    return operation

                def call(*args, **kwargs):
                    features.append(self.layer(*args, **kwargs))
                    return features[-1] + ops.expand_dims(offset, self._pixel_axes)

                return call

            outputs = self.classifier.forward(source, replace)
            if len(features) != 1:
                raise ValueError(
                    f"Grad-CAM needs a layer that is used once. Received: layer {self.layer.name!r}, which the model "
                    f"uses {len(features)} times"
                )
            return outputs, features[0]

        channels = self.layer.output.shape[self._channel_axis]
        offset = ops.zeros((ops.shape(source)[0], channels), self.layer.compute_dtype)
        # The gradient in an offset is the sum over positions of the gradient in the layer's output.
        sums, features = pulled_back(with_offset, offset, inputs["targets"])
        features = ops.cast(ops.moveaxis(features, self._channel_axis, 1), "float32")
        height, width = ops.shape(features)[2:]
        return ops.relu(ops.einsum("nkc,nchw->nkhw", sums, features) / ops.cast(height * width, "float32"))


def _find(operations, layer):
    """One of the layers, given itself or by its name. `None` is the last convolution."""
    known = [operation for operation in operations if isinstance(operation, keras.layers.Layer)]
    if layer is None:
        # One of a single position is a dense layer: a classifier, or the gate of squeeze-and-excitation.
        convolutions = [c for c in known if hasattr(c, "kernel_size") and _has_positions(c.output.shape)]
        if not convolutions:
            raise ValueError(
                "Grad-CAM needs a convolution with several positions. Name the layer to use, one with outputs "
                "(N, H, W, C). "
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


def _has_positions(shape):
    """Whether a shape is `(N, H, W, C)`, in any order, with more than one position."""
    return len(shape) == 4 and sum(size != 1 for size in shape[1:]) > 1
