"""The choice between the forms of the contraction."""

import contextlib
import threading
from collections.abc import Iterator

import keras

from keras_coda import backend
from keras_coda.backend.conventions import Tensor
from keras_coda.contractions import blocked
from keras_coda.contractions.contraction import Contraction
from keras_coda.contractions.direct import DirectContraction
from keras_coda.contractions.patchwise import PatchwiseContraction

FORMS = ("blocked", "direct", "fused")

_setting = "auto"


class _Scope(threading.local):
    """A thread's own form, which goes before the global setting. torch.compile cannot read a `ContextVar`."""

    form: str | None = None


_scope = _Scope()


def set_contraction(form: str) -> contextlib.AbstractContextManager:
    """Set how DAU layers compute from now on, in all models. It changes the speed; results differ by rounding only.

    `explain` and every `Explainer` follow the change at their next call. So does all that PyTorch computes, since it
    compiles nothing here. On JAX and TensorFlow, `fit`, `evaluate` and `predict` keep the form that they were compiled
    with: call `compile` again. Attribution methods other than `Contributions` keep it as well: make a new one.
    What Keras exports is always "direct", which every format can hold.

    Args:
        form: "direct": one convolution with all filters, and one batched product. For accelerators, and anything
            that Keras runs on.
            "blocked": matrix products on blocks of patches that fit into the processor's cache. The backward pass
            recomputes the intermediate results. For CPUs.
            "fused": a GPU kernel for each product, in Triton on PyTorch and in Pallas on JAX. Intermediate results
            are not written to the GPU's memory.
            "auto": "blocked" on a CPU; "fused" in bfloat16 on a Hopper GPU (H100, H200), the only one that it has been
            measured on; otherwise, and with a `keras.distribution`, "direct".

    Raises:
        ValueError: an unknown form; "fused" on TensorFlow, which has no such kernels.
        ImportError: "fused" on PyTorch without Triton.

    Returns:
        A context manager. The earlier setting returns at the end of a block `with set_contraction(form):`. Other
        threads see the setting as well; `using` is for this thread alone.

    Example:

    >>> keras_coda.set_contraction("direct")
    >>> with keras_coda.set_contraction("blocked"):
    ...     model.fit(images, labels)
    >>> keras_coda.set_contraction("auto")
    """
    global _setting
    _check(form)
    stack = contextlib.ExitStack()
    stack.callback(set_contraction, _setting)
    _setting = form
    return stack


@contextlib.contextmanager
def using(form: str) -> Iterator[None]:
    """Choose the form for a block of code, in this thread alone. It goes before `set_contraction`.

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


def _check(form):
    if form not in ("auto", *FORMS):
        raise ValueError(f"`form` must be one of {['auto', *FORMS]}. Received: {form!r}")
    if form == "fused":
        backend.gpu_kernels()  # an error now rather than in the middle of a training


def contraction(dtype: str | None = None) -> str:
    """The form of the contraction that is used: "blocked", "direct" or "fused". See `set_contraction`.

    Args:
        dtype: string, the compute dtype of the layers. Default: that of Keras' dtype policy.

    Returns:
        A string.

    Example:

    >>> keras_coda.contraction("bfloat16")  # on a CPU
    'blocked'
    """
    form = _scope.form or _setting
    if form != "auto":
        return form
    # With a distribution, the batch is split between devices. Blocks and GPU kernels are for a batch on one device.
    if keras.distribution.distribution() is not None:
        return "direct"
    if backend.runs_on_cpu():
        return "blocked"
    return "fused" if backend.prefers_gpu_kernels(dtype or keras.config.dtype_policy().compute_dtype) else "direct"


def make_contraction(layer, inputs: Tensor) -> Contraction:
    """The `Contraction` of a DAU layer for its inputs, in the chosen form.

    Args:
        layer: a built DAU layer.
        inputs: tensor x, in the layer's compute dtype.

    Returns:
        A `Contraction`.
    """
    form = "direct" if backend.is_exporting(inputs) else contraction(layer.compute_dtype)
    if form == "direct":
        return DirectContraction(layer, inputs)
    kernels = backend.gpu_kernels() if form == "fused" else backend.cpu_kernels or blocked
    return PatchwiseContraction(layer, inputs, kernels)
