"""The choice between the forms of the contraction."""

import contextlib
import threading

import keras

from keras_coda import backend
from keras_coda.contractions import blocked
from keras_coda.contractions.direct import DirectContraction
from keras_coda.contractions.patchwise import PatchwiseContraction

FORMS = ("blocked", "direct", "fused")

_setting = "auto"


class _Scope(threading.local):
    """The form that a thread is to use whatever the setting. Not a `ContextVar`, which torch.compile cannot read."""

    form = None


_scope = _Scope()


def set_contraction(form):
    """Set how DAU layers compute from now on, in all models. It changes the speed, not the results beyond rounding.

    Models compiled before (by `fit`, `predict`, `explain`) keep the form that they were compiled with.

    Args:
        form: "direct": one convolution with all filters, and one batched product. For accelerators, and anything
            that Keras runs on.
            "blocked": matrix products on blocks that stay in the processor's cache, and a backward pass that computes
            the intermediate again. For CPUs.
            "fused": a GPU kernel for each product, in which the intermediate never reaches the GPU's memory; in Triton
            on PyTorch and in Pallas on JAX. What `model.export` writes cannot hold these kernels.
            "auto": "blocked" on a CPU; "fused" in bfloat16 on a Hopper GPU (H100, H200), the only one that it has been
            measured on; otherwise, and with a `keras.distribution`, "direct".

    Raises:
        ValueError: an unknown form; "fused" on TensorFlow, which has no such kernels.
        ImportError: "fused" on PyTorch without Triton.

    Returns:
        What makes a block of it: after `with set_contraction(form):` the setting is what it was. `using` is for a block
        that no other thread is to see.

    Example:

    >>> keras_coda.set_contraction("direct")
    >>> with keras_coda.set_contraction("blocked"):
    ...     model.fit(images, labels)
    """
    global _setting
    _check(form)
    before, _setting = _setting, form
    return _restored(before)


@contextlib.contextmanager
def using(form):
    """Have DAU layers compute in a form in a block of code: in this thread alone, and before any `set_contraction`.

    Args:
        form: as `set_contraction` takes it.

    Raises:
        ValueError, ImportError: see `set_contraction`.

    Example:

    >>> with keras_coda.contractions.using("direct"):
    ...     outputs = model(images)
    """
    _check(form)
    before, _scope.form = _scope.form, form
    try:
        yield
    finally:
        _scope.form = before


@contextlib.contextmanager
def _restored(before):
    """A block, after which the setting is as before."""
    global _setting
    try:
        yield
    finally:
        _setting = before


def _check(form):
    if form not in ("auto", *FORMS):
        raise ValueError(f"`form` must be one of {['auto', *FORMS]}. Received: {form!r}")
    if form == "fused":
        backend.gpu_kernels()  # an error now rather than in the middle of a training


def contraction(dtype=None):
    """The form of the contraction that is used: "blocked", "direct" or "fused". See `set_contraction`.

    Args:
        dtype: string, the compute dtype of the layers that are asked about; default: that of Keras' dtype policy.

    Example:

    >>> keras_coda.contraction("bfloat16")  # on a CPU
    'blocked'
    """
    form = _scope.form or _setting
    if form != "auto":
        return form
    # Blocks are cut from the batch, which a distribution splits between devices, and no compiler splits a GPU kernel.
    if keras.distribution.distribution() is not None:
        return "direct"
    if backend.runs_on_cpu():
        return "blocked"
    return "fused" if backend.prefers_gpu_kernels(dtype or keras.config.dtype_policy().compute_dtype) else "direct"


def make_contraction(layer, inputs):
    """The `Contraction` of a DAU layer for inputs x, in the form that is set."""
    form = "direct" if backend.is_exporting(inputs) else contraction(layer.compute_dtype)
    if form == "direct":
        return DirectContraction(layer, inputs)
    kernels = backend.gpu_kernels() if form == "fused" else backend.cpu_kernels or blocked
    return PatchwiseContraction(layer, inputs, kernels)
