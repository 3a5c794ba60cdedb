"""The contributions of CoDA-Nets as an attribution method."""

import keras

from keras_coda import backend
from keras_coda.attributions.attribution import Attribution
from keras_coda.backend.conventions import probe
from keras_coda.explanations import Explainer
from keras_coda.linear_maps import NotDynamicLinearError


class Contributions(Attribution):
    """The contributions of the (encoded) input to the target's logit (paper, eq. 8), `(N, H, W, C)`.

    Their sum plus the biases' share, for a CoDA-Net b0, is the logit. Call: see `Attribution`. Where layers before the
    encoding change the image's size, as in a hybrid, H and W are those of what is encoded, and the metrics, which need
    maps of the image's size, refuse the model (see `Explanation.over_image`).

    Args:
        model: see `Attribution`.
        batch_size: integer, how many images the model gets at once.

    Raises:
        NotDynamicLinearError: a part of the model is not dynamic linear; it is named.

    Example:

    >>> keras_coda.attributions.Contributions(model).maps(images)    # (N, H, W)
    """

    def __init__(self, model: keras.Model, batch_size: int = 32):
        super().__init__(model, batch_size)
        self._explainer = Explainer(model)
        inputs = {
            "images": keras.KerasTensor((1, *probe(model.input_shape[1:]))),
            "targets": keras.KerasTensor((1, 1), "int32"),
        }
        try:
            # A trace raises errors now, and not only at the first call.
            with backend.one_at_a_time:
                self._explainer.compute_output_spec(inputs)
        except NotDynamicLinearError as error:
            # Keras wraps the error and adds to its message.
            raise error.__context__ or error from None
        except ValueError:
            # A model that takes any size may need more pixels than those of the trace.
            if None not in model.input_shape[1:]:
                raise

    def _attribute(self, images, source, targets, verbose):
        return self._explainer.explain(images, targets, self.batch_size, verbose).contributions
