"""Whether the form of the contraction that training takes, such as the fused GPU kernels, computes what it should."""

import jax
import jax.numpy as jnp
import numpy as np

import keras_coda

IMAGES, DRAWS = 64, 3
# Relative errors in the norm: bfloat16 has 1e-3 to 1e-2, a kernel that is off 1.
TOLERANCE = 0.05


def worst_error(model, size):
    """The largest error of layers in the model's dtype and "auto" against float32 and "direct".

    Of outputs, and of gradients in all weights and inputs, relative to the norm; of the first, the middle and the last
    layer, on random inputs, drawn anew three times: a race between threads does not show every time.

    Args:
        model: a `CoDANet`.
        size: integer, of its images.

    Returns:
        A number; not finite where a result is not.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras_coda.DAUConv2D)]
    sizes, channels = [], []
    for layer in layers:
        sizes.append(size)
        channels.append(layer.b_kernel.shape[2])
        size = -(-size // layer.strides[0])
    errors = []
    for i in sorted({0, len(layers) // 2, len(layers) - 1}):
        errors += _errors(layers[i], (IMAGES, sizes[i], sizes[i], channels[i]))
    keras_coda.set_contraction("auto")
    return float(np.max(errors)) if np.isfinite(errors).all() else float("inf")


def _errors(layer, shape):
    weights = [variable.value for variable in layer.trainable_variables]
    forms = [_with_gradients(layer, shape, *how) for how in (("auto", layer.dtype_policy), ("direct", "float32"))]
    for seed in range(DRAWS):
        keys = jax.random.split(jax.random.key(seed))
        inputs = jax.random.uniform(keys[0], shape)
        outputs = jax.eval_shape(forms[1], weights, inputs, 0.0)[0]
        direction = jax.random.normal(keys[1], outputs.shape)
        found, expected = (form(weights, inputs, direction) for form in forms)
        for a, b in zip(found, expected, strict=True):
            yield float(jnp.linalg.norm((a.astype("float32") - b).ravel()) / jnp.linalg.norm(b.ravel()))


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
