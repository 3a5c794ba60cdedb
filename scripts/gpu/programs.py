"""The compiled JAX programs of a training, with all images on the device: several steps, and a test.

Each is compiled once, ahead of its calls, so that nothing is recompiled unnoticed.
"""

import jax
import jax.numpy as jnp
import keras
import numpy as np

import keras_coda

TESTED_AT_ONCE = 500


def strongly_typed(values):
    """Arrays without JAX's weak types, so that a program compiled for them accepts its own results."""
    return [jax.lax.convert_element_type(value, value.dtype) for value in values]


def augmented(key, images, flip, padding):
    """Random crops of padded images and random flips, for each image independently; float32 in [0, 1]."""
    n, height, width, channels = images.shape
    crop_key, flip_key = jax.random.split(key)
    if padding:
        images = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        corners = jax.random.randint(crop_key, (n, 2), 0, 2 * padding + 1)
        shape = (height, width, channels)
        images = jax.vmap(lambda im, at: jax.lax.dynamic_slice(im, (at[0], at[1], 0), shape))(images, corners)
    if flip:
        images = jnp.where(jax.random.bernoulli(flip_key, 0.5, (n, 1, 1, 1)), images[:, :, ::-1], images)
    return images.astype("float32") / 255


def steps(model, optimizer, feed, shape):
    """The program of several training steps. The loss includes the model's penalty (eq. 10).

    Args:
        model: a `ResizingCoDANet`.
        optimizer: a built Keras optimizer, of which the learning rate is a variable.
        feed: of `gpu.feeds`.
        shape: `(steps, batch)`.

    Returns:
        A function of `weights`, `variables` (of the optimizer), `images`, `labels` and `indices` in them, a `key` and
        learning `rates` `(steps,)`, that returns new weights and variables, the loss of each step, and the accuracy on
        the batches.
    """
    loss_of = keras_coda.OneVsRestCrossentropy()
    fixed = [variable.value for variable in model.non_trainable_variables]
    rate_at = next(i for i, variable in enumerate(optimizer.variables) if variable is optimizer._learning_rate)

    def penalty_of(weights, batch, targets, key):
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = [*weights, *fixed]
        drawn = model._other_classes.state  # A variable, which would be the same at every step.
        mapping = [*zip(variables, values, strict=True), (drawn, jax.random.bits(key, drawn.shape, drawn.dtype))]
        with keras.StatelessScope(state_mapping=mapping):
            return model.linear_map_penalty(batch, targets).astype("float32")

    def program(weights, variables, images, labels, indices, key, rates):
        def step(state, given):
            weights, variables = state
            indices, key, rate = given
            batch, targets = augmented(key, images[indices], feed.flip, feed.crop_padding), labels[indices]

            def loss(weights):
                logits, _ = model.stateless_call(weights, fixed, batch, training=True)
                value = loss_of(targets, logits.astype("float32"))
                if model.penalty:
                    value += model.penalty * penalty_of(weights, batch, targets, jax.random.fold_in(key, 1))
                return value, logits

            (value, logits), gradients = jax.value_and_grad(loss, has_aux=True)(weights)
            variables = [*variables[:rate_at], rate, *variables[rate_at + 1 :]]
            weights, variables = optimizer.stateless_apply(variables, gradients, weights)
            return (list(weights), list(variables)), (value, jnp.mean(logits.argmax(-1) == targets))

        keys = jax.random.split(key, len(rates))
        (weights, variables), (losses, hits) = jax.lax.scan(step, (weights, variables), (indices, keys, rates))
        return weights, variables, losses, hits.mean()

    compiled = _compiled(
        program,
        strongly_typed(variable.value for variable in model.trainable_variables),
        strongly_typed(variable.value for variable in optimizer.variables),
        *feed.shapes(shape[0] * shape[1]),
        jnp.zeros(shape, "int32"),
        jax.random.key(0),
        jnp.zeros(shape[0], "float32"),
    )
    return lambda weights, variables, images, labels, indices, key, rates: compiled(
        weights, variables, images, labels, indices, key, jnp.asarray(rates)
    )


def test(model, images, labels):
    """The program of a test: a function of weights that returns the accuracy on all these images, at their scale."""
    fixed = [variable.value for variable in model.non_trainable_variables]
    size = min(TESTED_AT_ONCE, len(images))
    # Filled up to whole batches with the first images, which do not count twice.
    places = np.resize(np.arange(len(images)), (-(-len(images) // size), size)).astype("int32")

    def program(weights, images, labels, places):
        def classes(places):
            # In training the model makes images smaller.
            logits, _ = model.stateless_call(weights, fixed, images[places].astype("float32") / 255, training=True)
            return logits.argmax(-1)

        return jnp.mean(jax.lax.map(classes, places).ravel()[: len(labels)] == labels)

    arguments = images, labels, jnp.asarray(places)
    compiled = _compiled(program, strongly_typed(v.value for v in model.trainable_variables), *arguments)
    return lambda weights: float(compiled(weights, *arguments))


def _compiled(program, *arguments):
    return jax.jit(program).lower(*arguments).compile()
