"""A model that returns its explanation with its predictions, in one graph."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_coda.explanations.explainer import Explainer
from keras_coda.explanations.targets import PREDICTED
from keras_coda.layers.unit_range import to_unit_range

PROBABILITIES = ("sigmoid", "softmax")
# In alphabetical order, because every backend sorts the entries of a dict.
OUTPUTS = ("contribution_map", "logits", "probabilities", "residual")


class ExplainedModel(keras.Model):
    """A model from images to logits, probabilities and contribution maps of fixed classes.

    Args:
        model: a CoDA-Net, or any built model that `keras_coda.explain` takes, with outputs `(N, classes)`.
        explained: the classes that get a contribution map: "predicted", or a list of integers.
        probabilities: the function from logits to probabilities: "sigmoid" (paper, eq. 9) or "softmax".
        unit_range: whether the model takes images in [0, 1], of whatever kind it is.

    Attributes:
        in_unit_range: whether the model takes images in [0, 1]. It does if `unit_range` says so, if it is a CoDA-Net,
            or if it begins with an `InputEncoding`. Then integers are divided by 255. For any other model they are cast
            to floats unscaled.

    Input shape:
        The model's own input shape. Images may be floats or integers.

    Output shape:
        A dict of float32 tensors: `contribution_map (N, K, H, W)` for K explained classes, `logits (N, classes)`,
        `probabilities (N, classes)` and `residual (N, K)`. With "predicted" the axis of length K is absent.

    Raises:
        NotDynamicLinearError: the model cannot be explained (see `Explainer`).
        ValueError: contributions come from several tensors, so that there would be several maps.
    """

    def __init__(
        self,
        model: keras.Model,
        explained: str | Sequence[int] = "predicted",
        probabilities: str = "sigmoid",
        unit_range: bool = False,
    ) -> None:
        # Keras' dtype policy of now may be another one than the model's.
        super().__init__(name=f"{model.name}_explained", autocast=False)
        self.targets = [PREDICTED] if explained == "predicted" else [*explained]
        self.several = explained != "predicted"
        self.probabilities = probabilities
        self.explainer = Explainer(model)
        self.in_unit_range = unit_range or self.explainer.takes_unit_range
        sources = len(self.explainer.channel_axes)
        if sources != 1:
            raise ValueError(
                "Expected a model with one source of contributions, such as one `InputEncoding` of all images. "
                f"Received: {model.name!r} with {sources}. `keras_coda.explain` explains it"
            )
        self.build(model.input_shape)

    def build(self, input_shape):
        # There are no weights of its own. The flag is set here because Keras registers a model's weights with PyTorch
        # after `build`.
        self.built = True

    def check(self, image_shape, dtype="float32"):
        """Explain random images of a dtype. An exporter would hide the errors of this among its own.

        Raises:
            NotDynamicLinearError: a layer is not dynamic linear, or a user's own `linear_map` is not that of `call`.
            ValueError: integers would have to be divided by 255 for this model.
        """
        images = np.random.default_rng(0).random((2, *image_shape), "float32")
        self.explainer.compare_own_maps([images])
        self(images[:1])
        if dtype == "uint8" and not self.in_unit_range:
            try:
                self((255 * images[:1]).astype(dtype))
            except ValueError as error:
                raise ValueError(
                    f"Model {self.explainer.model.name!r} takes images in [0, 1], and not integers as they are. "
                    f"Expected: unit_range=True, with which they are divided by 255. Received: {error}"
                ) from error

    def map_size(self, image_shape):
        """Height and width of the maps for a given image shape (without the batch axis).

        A value is `None` if it depends on the images. Maps have the size of the images, except in a hybrid network,
        where they have the size of the stem's features.
        """
        [source] = self.explainer.source_specs([keras.KerasTensor((None, *image_shape))])
        return [size for axis, size in enumerate(source.shape) if axis not in (0, self.explainer.channel_axes[0])]

    def call(self, images):
        images = to_unit_range(images, check=False) if self.in_unit_range else ops.cast(images, "float32")
        logits, contribution_map, residual = explanation(self.explainer, images, self.targets)
        if not self.several:
            contribution_map, residual = contribution_map[:, 0], residual[:, 0]
        probabilities = getattr(ops, self.probabilities)(logits)
        return dict(zip(OUTPUTS, (contribution_map, logits, probabilities, residual), strict=True))


def explanation(explainer, images, targets):
    """Return the logits of every image, and the contribution maps and residuals of the target classes.

    Exporting calls an `Explainer` only here, with a tensor of targets `(N, K)`.
    """
    chosen = ops.convert_to_tensor([targets], dtype="int32")
    parts = explainer({"images": images, "targets": ops.broadcast_to(chosen, (ops.shape(images)[0], len(targets)))})
    return parts["logits"], parts["contribution_map"], parts["residual"]
