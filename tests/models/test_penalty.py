"""The mean absolute entry of W(x) (eq. 10): its value, its classes, and its gradient."""

import itertools

import keras
import numpy as np
import pytest
import reference
from keras import ops
from on_backend import double_precision, evaluate, gradients
from small_models import CLASSES, IMAGE_SHAPE, TEMPERATURE, copy, small_coda_net

from keras_coda import OneVsRestCrossentropy


def rows_of(model, images):
    """Mean absolute entries of the rows of W(x) / T: `(N, classes)`."""
    return np.abs(reference.coda_net(images, reference.layers_of(model))[1]).mean(-1) / TEMPERATURE


@pytest.fixture
def images(rng):
    return rng.random((2, *IMAGE_SHAPE)).astype("float32")


def test_a_model_without_penalty_has_no_other_classes(images):
    with pytest.raises(ValueError, match="Received: penalty=0"):
        small_coda_net().linear_map_penalty(images, np.array([0, 1]))


def test_all_classes(images):
    model = small_coda_net(penalty=1.0, penalized_classes="all")
    want = rows_of(model, images).mean()
    for labels in (np.array([0, 1]), np.array([3, 3])):
        got = evaluate(lambda x, labels=labels: model.linear_map_penalty(x, labels), images)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    integers = np.round(255 * images).astype("uint8")
    got = evaluate(lambda x: model.linear_map_penalty(x, np.array([0, 1])), integers)
    np.testing.assert_allclose(got, rows_of(model, integers / 255).mean(), rtol=1e-5)


def test_keras_precision_may_be_another(images):
    """In which Keras computes the loss."""
    model = small_coda_net(penalty=1.0, penalized_classes="all", dtype="float32")
    keras.config.set_floatx("float16")
    try:
        model.compile(loss=OneVsRestCrossentropy())
        loss = model.compute_loss(images, np.array([0, 1]), model(images))
    finally:
        keras.config.set_floatx("float32")
    assert np.isfinite(ops.convert_to_numpy(loss))


def test_the_target_and_one_other_class_of_each_image(images):
    model = small_coda_net(penalty=1.0, seed=5)
    targets = np.array([1, 3])
    rows = rows_of(model, images)
    values = {}
    for others in itertools.product(range(CLASSES), repeat=2):
        values[others] = (rows[[0, 1], targets] + rows[[0, 1], others]).mean() / 2
    assert np.diff(np.sort(list(values.values()))).min() > 1e-6

    state = model._other_classes.state

    # The state of the generator goes in and out, so that all draws are of one compiled function.
    def draw(x, y, seed):
        with keras.StatelessScope(state_mapping=[(state, seed)]) as scope:
            penalty = model.linear_map_penalty(x, y)
        return penalty, scope.get_current_value(state)

    drawn = []
    for labels in (targets, targets[:, None], np.eye(CLASSES)[targets]):
        seed = ops.convert_to_numpy(state)
        for number in range(40):
            penalty, seed = evaluate(draw, images, labels.astype("float32"), seed)
            others = min(values, key=lambda key: abs(values[key] - penalty))
            np.testing.assert_allclose(penalty, values[others], rtol=1e-5)
            drawn.append(others)
            if labels is not targets and number == 2:
                break
    assert {a for a, _ in drawn} == {0, 2, 3}
    assert {b for _, b in drawn} == {0, 1, 2}
    # Drawn for each image.
    assert len(set(drawn)) == 9
    # From the same seed, the same classes, whichever the form of the labels.
    assert drawn[40:43] == drawn[43:46] == drawn[:3]


@pytest.mark.parametrize(
    ("penalized_classes", "rescaling", "use_bias"),
    [("all", "sq", True), ("target_and_other", "sq", True), ("all", "l2", False)],
)
def test_gradient(rng, penalized_classes, rescaling, use_bias):
    """Equal to central differences of the NumPy reference, in float64, in every parameter."""
    with double_precision():
        model = small_coda_net(
            filters=[2, 2],
            kernel_sizes=[3, 1],
            ranks=[2, 2],
            strides=[2, 1],
            image_shape=(3, 4, 1),
            penalty=1.0,
            # With two classes the other one is no matter of chance.
            penalized_classes=penalized_classes,
            rescaling=rescaling,
            use_bias=use_bias,
            dtype="float64",
        )
        images, labels = rng.random((2, 3, 4, 1)), np.array([0, 1])

        def penalty(*weights):
            with keras.StatelessScope(state_mapping=zip(model.trainable_variables, weights, strict=True)):
                return model.linear_map_penalty(images, labels)

        weights = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
        value, got = gradients(penalty, weights, np.ones(()))
        layers = reference.layers_of(model)

    def loss():
        return np.abs(reference.coda_net(images, layers)[1]).mean() / TEMPERATURE

    # Keras rounds to float32 here and there: matrix products on PyTorch, means on JAX.
    np.testing.assert_allclose(value, loss(), rtol=1e-6)
    step, number = 1e-6, 0
    for layer in layers:
        for array in [layer.a, layer.b, *([layer.bias] if use_bias else [])]:
            want = np.empty(array.size)
            for i, entry in enumerate(array.flat):
                array.flat[i] = entry + step
                above = loss()
                array.flat[i] = entry - step
                want[i] = (above - loss()) / (2 * step)
                array.flat[i] = entry
            assert reference.relative_error(got[number].reshape(-1), want) < 1e-5, number
            number += 1
    assert number == len(got)


@pytest.mark.parametrize("form", ["no axis of channels", "dict", "list"])
def test_images_of_all_forms_that_keras_takes(rng, form):
    """The same losses as for `(N, H, W, 1)`, in training with a penalty, and the same logits."""
    images, labels = rng.random((4, 6, 6, 1)).astype("float32"), np.arange(4)
    given = {"no axis of channels": images[..., 0], "dict": {"images": images}, "list": [images]}[form]
    model = small_coda_net(image_shape=(6, 6, 1), penalty=1.0, penalized_classes="all")
    found = []
    # Two models, since TensorFlow traces a function of two ranks for images of unknown shape.
    for own, x in ((copy(model), images), (model, given)):
        logits = own.predict(x, verbose=0)
        own.compile(keras.optimizers.SGD(0.1), OneVsRestCrossentropy())
        found.append({**own.fit(x, labels, epochs=2, verbose=0).history, "logits": logits})
    assert {*found[0]} == {"loss", "penalty", "logits"}
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-6)
