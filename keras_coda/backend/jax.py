"""JAX."""

import jax


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a function being traced."""
    return not isinstance(tensor, jax.core.Tracer)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return jax.default_backend() == "cpu"


def scan(body, carry, blocks, outputs):
    """Call `body` on one block after the other.

    Args:
        body: function of `(carry, [a block of each array])` that returns `(carry, [outputs])`.
        carry: list of tensors.
        blocks: list of tensors `(n, ...)`.
        outputs: list of `(shape, dtype)` of the outputs of `body`.

    Returns:
        `(carry, [outputs stacked])`: each `(n, *shape)`.
    """
    return jax.lax.scan(body, carry, blocks)
