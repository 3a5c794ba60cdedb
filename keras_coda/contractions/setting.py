"""Which form of the contraction is used."""

import functools

import keras

from keras_coda import backend
from keras_coda.contractions import blocked
from keras_coda.contractions.direct import DirectContraction
from keras_coda.contractions.patchwise import PatchwiseContraction

FORMS = {
    "blocked": functools.partial(PatchwiseContraction, kernels=backend.cpu_kernels or blocked),
    "direct": DirectContraction,
}

_setting = "auto"


def set_contraction(form):
    """Set how DAU layers compute from now on, in all models. It changes the speed, not the results beyond rounding.

    Models compiled before (by `fit`, `predict`, `explain`) keep the form that they were compiled with.

    Args:
        form: "direct": one convolution with all filters, and one batched product. For accelerators, and anything
            that Keras runs on.
            "blocked": matrix products on blocks that stay in the processor's cache, and a backward pass that computes
            the intermediate again. For CPUs.
            "auto": "blocked" on a CPU, unless a `keras.distribution` is set; otherwise "direct".

    Raises:
        ValueError: an unknown form.

    Example:

    >>> keras_coda.set_contraction("direct")
    """
    global _setting
    if form not in ("auto", *FORMS):
        raise ValueError(f"`form` must be one of {['auto', *FORMS]}. Received: {form!r}")
    _setting = form


def contraction():
    """The form of the contraction that is used: "blocked" or "direct". See `set_contraction`."""
    if _setting != "auto":
        return _setting
    # Blocks are cut from the batch, which a distribution splits between devices.
    return "blocked" if backend.runs_on_cpu() and keras.distribution.distribution() is None else "direct"


def make_contraction(layer, inputs):
    """The `Contraction` of a DAU layer for inputs x, in the form that is set."""
    return FORMS[contraction()](layer, inputs)
