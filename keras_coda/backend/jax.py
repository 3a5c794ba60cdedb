"""JAX."""

import jax

# Kernels of its own in the place of `keras_coda.contractions.blocked`.
cpu_kernels = None


def is_concrete(tensor):
    """Whether the values of `tensor` can be read now: it is not part of a function being traced."""
    return not isinstance(tensor, jax.core.Tracer)


def runs_on_cpu():
    """Whether new tensors are put on the CPU."""
    return jax.default_backend() == "cpu"


def gpu_kernels():
    """The kernels of the contraction "fused", imported only where they are asked for."""
    from keras_coda.backend import fused_jax

    return fused_jax


def pull_back(function, inputs):
    """The outputs of `function` for a tensor, and the function that takes gradients in the outputs to those in it."""
    outputs, pull = jax.vjp(function, inputs)
    return outputs, lambda gradients: pull(gradients)[0]
