"""The layers that CoDA-Nets and hybrids share: DAU layers, the sum over positions, and the logits."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_coda.backend.conventions import at_least_float32
from keras_coda.layers import DAUConv2D, LogitScaling, SumPooling2D


def dau_stack(
    filters: Sequence[int],
    kernel_sizes: Sequence[int],
    ranks: Sequence[int],
    strides: Sequence[int],
    temperature: float,
    logit_bias: float,
    rescaling: str | Callable,
    use_bias: bool,
    data_format: str,
    dtype: Any = None,
) -> list[keras.Layer]:
    """The layers from images, or features, to logits (paper, eq. 9).

    Args:
        filters, kernel_sizes, ranks, strides, temperature, logit_bias, rescaling, use_bias: see `CoDANet`.
        data_format: "channels_last" or "channels_first".
        dtype: dtype policy of the DAU layers. Pooling and logits are in at least float32.

    Raises:
        ValueError: lists of different length.
    """
    lists = {"filters": filters, "kernel_sizes": kernel_sizes, "ranks": ranks, "strides": strides}
    counts = {name: len(values) if hasattr(values, "__len__") else "no list of" for name, values in lists.items()}
    if not filters or len(set(counts.values())) != 1 or "no list of" in counts.values():
        received = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(
            "`filters`, `kernel_sizes`, `ranks` and `strides` must each have an entry for every layer. "
            f"Received: {received}"
        )
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    exact = at_least_float32(policy.variable_dtype)
    common: dict[str, Any] = {"rescaling": rescaling, "use_bias": use_bias, "data_format": data_format, "dtype": policy}
    sizes = zip(filters, kernel_sizes, ranks, strides, strict=True)
    return [
        *(
            DAUConv2D(*of_layer, padding="symmetric", name=f"dau_{number}", **common)
            for number, of_layer in enumerate(sizes, start=1)
        ),
        SumPooling2D(data_format, dtype=exact, name="pooling"),
        LogitScaling(temperature, logit_bias, dtype=exact, name="logits"),
    ]
