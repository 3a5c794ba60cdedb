"""The check of a file for images of any size at other sizes than the one that was traced."""

import numpy as np
from keras import ops

# Test sizes for axes of any length, above the one that is traced. With strides up to 4 they cover all remainders.
OTHER_SIZES = ((67, 68, 69), (69, 70, 71))


def check_sizes(model, spec, form, load):
    """Raise an error if a file for any size is not right for every size, or not for a single image.

    Args:
        model: the `ExplainedModel` that was written.
        spec: `InputSpec` of the images.
        form: what the file is, for the error.
        load: function that returns the file as a function of images to its outputs.
    """
    if None not in spec.shape[1:]:
        return
    cause = None
    try:
        run = load()
        right = all(_is_right(run, model, _images(spec, others)) for others in OTHER_SIZES)
    except Exception as error:
        right, cause = False, error
    if not right:
        raise ValueError(
            "A layer of this model, such as one with padding='same' and strides, can only be written to "
            f"{form} for images of one size: name it, such as image_shape=(32, 32, 3). "
            f"Received: image_shape={tuple(spec.shape[1:])}, and at another size: {cause or 'other results'}"
        ) from cause


def _images(spec, others):
    """An image of other sizes, where the model takes any."""
    shape = [1, *(other if size is None else size for other, size in zip(others, spec.shape[1:], strict=True))]
    return np.random.default_rng(0).uniform(0, 255 if spec.dtype == "uint8" else 1, shape).astype(spec.dtype)


def _is_right(run, model, images):
    """Whether the file agrees with its model."""
    want = model(images)
    got = dict(zip(want, run(images), strict=True))
    return all(_is_close(got[name], want[name]) for name in ("contribution_map", "logits"))


def _is_close(got, want):
    want = ops.convert_to_numpy(want)
    return got.shape == want.shape and np.abs(got - want).max() <= 1e-3 * np.abs(want).max()
