"""A check of the contraction that training uses, such as the fused GPU kernels."""

import jax
import jax.numpy as jnp
import numpy as np

import keras_coda

IMAGES, DRAWS = 64, 3
# Allowed error, as a multiple of that of the reference in the same dtype; and an error that is always allowed.
TOLERANCE, ALWAYS_FINE = 2.0, 0.005


class NoReference(RuntimeError):
    """The form to compare with does not run."""


def reference(form):
    """The form with which another one is compared.

    That is "blocked", which has matrix products alone: XL's convolutions in "direct" take minutes to compile on a GPU.
    """
    return "direct" if form == "blocked" else "blocked"


def excess(model, size, reference):
    """Compare the errors of the contractions "auto" and `reference` in the model's dtype.

    The errors are those of outputs and gradients against `reference` in float32, relative to the norm. The first,
    middle and last layer are checked on three draws of random inputs, since a race between threads does not show every
    time.

    Args:
        model: a `CoDANet`.
        size: integer, of its images.
        reference: "direct" or "blocked".

    Returns:
        `(excess, error)`: the largest ratio and the largest error; infinite where a result is not finite.

    Raises:
        NoReference: `reference` does not run.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras_coda.DAUConv2D)]
    sizes, channels = [], []
    for layer in layers:
        sizes.append(size)
        channels.append(layer.b_kernel.shape[2])
        size = -(-size // layer.strides[0])
    pairs: list[tuple[float, float]] = []
    for i in sorted({0, len(layers) // 2, len(layers) - 1}):
        pairs += _errors(layers[i], (IMAGES, sizes[i], sizes[i], channels[i]), reference)
    keras_coda.set_contraction("auto")
    errors, usual = np.transpose(pairs)
    if not np.isfinite(errors).all():
        return float("inf"), float("inf")
    return float(np.max(errors / np.maximum(usual, ALWAYS_FINE))), float(np.max(errors))


def _errors(layer, shape, reference):
    """The error of "auto" and of `reference` for each result."""
    weights = [variable.value for variable in layer.trainable_variables]
    policy = layer.dtype_policy
    hows = (("auto", policy), (reference, policy), (reference, "float32"))
    forms = [_with_gradients(layer, shape, *how) for how in hows]
    for seed in range(DRAWS):
        keys = jax.random.split(jax.random.key(seed))
        inputs = jax.random.uniform(keys[0], shape)
        outputs = jax.eval_shape(forms[-1], weights, inputs, 0.0)[0]
        direction = jax.random.normal(keys[1], outputs.shape)
        try:
            usual, expected = (jax.block_until_ready(form(weights, inputs, direction)) for form in forms[1:])
        except Exception as problem:  # XLA raises errors of many types.
            raise NoReference(f"{reference}: {type(problem).__name__}: {problem}") from problem
        found = forms[0](weights, inputs, direction)
        for a, b, exact in zip(found, usual, expected, strict=True):
            yield _error(a, exact), _error(b, exact)


@jax.jit
def _norms(found, exact):
    return jnp.linalg.norm((found.astype("float32") - exact).ravel()), jnp.linalg.norm(exact.ravel())


def _error(found, exact):
    difference, size = _norms(found, exact)
    return float(difference) / float(size)


def _with_gradients(layer, shape, form, policy):
    """A function of weights, inputs and a direction: outputs, and the gradients of their product with the direction."""
    keras_coda.set_contraction(form)
    copy = keras_coda.DAUConv2D.from_config({**layer.get_config(), "dtype": policy})
    copy.build(shape)

    @jax.jit
    def function(weights, inputs, direction):
        keras_coda.set_contraction(form)  # while this is traced

        def product(weights, inputs):
            outputs, _ = copy.stateless_call(weights, [], inputs)
            return jnp.sum(outputs.astype("float32") * direction), outputs

        (_, outputs), gradients = jax.value_and_grad(product, argnums=(0, 1), has_aux=True)(weights, inputs)
        return [outputs, *gradients[0], gradients[1]]

    return function
