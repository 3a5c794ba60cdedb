"""JAX."""

import jax


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a function being traced."""
    return not isinstance(tensor, jax.core.Tracer)
