"""The steps of models that are chains of layers, and the products of their matrices."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from matrices import assert_linear_map
from on_backend import double_precision

from keras_coda import DAUConv2D, DAUDense, LinearMap, NotDynamicLinearError
from keras_coda.layers import LogitScaling
from keras_coda.linear_maps import Graph, linear_map, linear_map_through


def operations(model):
    return [step.operation for step in Graph.of(model).steps]


def names(model):
    return [operation.name for operation in operations(model)]


def test_nested_models_are_unrolled():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a"), layers.Dense(4, name="b")], name="inner")
    x = keras.Input((4,))
    twice = layers.Dense(4, name="shared")
    functional = keras.Model(x, twice(inner(twice(x))), name="functional")
    assert names(functional) == ["shared", "a", "b", "shared"]
    outer = keras.Sequential([keras.Input((4,)), functional, layers.Flatten(name="last")])
    assert names(outer) == ["shared", "a", "b", "shared", "last"]


def test_a_part_of_a_functional_model_is_a_chain_of_its_own():
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in "abcd")])
    part = keras.Model(model.get_layer("b").input, model.get_layer("c").output)
    assert names(part) == ["b", "c"]


def test_product(rng, drawn):
    arguments = {"a_initializer": drawn, "b_initializer": drawn, "bias_initializer": drawn}
    steps = [
        DAUConv2D(3, 3, 2, strides=2, padding="symmetric", **arguments),
        layers.Flatten(),
        DAUDense(4, 2, **arguments),
        LogitScaling(3.0, bias=0.5),
    ]
    model = keras.Sequential([keras.Input((4, 5, 2)), *steps])
    x = rng.standard_normal((2, 4, 5, 2)).astype("float32")
    product, outputs, offset = assert_linear_map(lambda x: linear_map_through(operations(model), x), x, (4,))
    np.testing.assert_allclose(outputs, ops.convert_to_numpy(model(x)), atol=1e-6)
    np.testing.assert_allclose(offset, 0.5)

    want = np.eye(x[0].size)
    for step in steps:
        after = ops.convert_to_numpy(step(x))
        matrix, x, _ = assert_linear_map(lambda x, step=step: linear_map_through([step], x), x, after.shape[1:])
        want = matrix @ want
    np.testing.assert_allclose(product, want, atol=1e-6 * np.abs(want).max())


def test_matrices_multiply_and_transpose_as_matrices_do(rng):
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    A, B = (LinearMap(lambda v, m=m: v @ m.T, lambda u, m=m: u @ m, offset=m) for m in (a, b))
    v, u = rng.standard_normal((5, 2)), rng.standard_normal((5, 3))
    np.testing.assert_allclose((A @ B) @ v, v @ (a @ b).T)
    np.testing.assert_allclose((A @ B).T @ u, u @ (a @ b))
    np.testing.assert_allclose(B.T @ A.T @ u, u @ (a @ b))
    assert (A @ B).offset is A.T.offset is None


def test_a_subclassed_model_without_a_linear_map_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(NotDynamicLinearError, match=r"Model 'own' \(Own\) does not show its layers. Expected: a Seq"):
        Graph.of(Own(name="own"))


def test_a_bias_in_the_middle_is_part_of_the_offset(rng, drawn):
    steps = [layers.Dense(3, bias_initializer=drawn), layers.Dense(2, bias_initializer=drawn)]
    x = rng.standard_normal((2, 4)).astype("float32")
    steps[0].build((None, 4))
    steps[1].build((None, 3))
    outputs, W = linear_map_through(steps, x)
    (first, b), (second, c) = ([np.array(w, "float64") for w in step.get_weights()] for step in steps)
    np.testing.assert_allclose(ops.convert_to_numpy(W.offset), np.broadcast_to(b @ second + c, (2, 2)), atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), x @ first @ second + b @ second + c, atol=1e-6)


def test_no_bias_in_the_middle_is_none():
    steps = [LogitScaling(2.0, bias=0.0), layers.Rescaling(2.0, offset=0.0), layers.Dense(2)]
    for step in steps:
        step.build((None, 2))
    _, W = linear_map_through(steps, ops.ones((1, 2)))
    got, want = W @ ops.ones((1, 2)), ops.matmul(ops.ones((1, 2)), steps[-1].kernel)
    np.testing.assert_allclose(ops.convert_to_numpy(got), ops.convert_to_numpy(want), rtol=1e-6)


def test_a_bias_in_double_precision_is_not_rounded(rng):
    """What it contributes to a row."""
    bias, row = rng.standard_normal((2, 3))
    with double_precision():
        layer = layers.Dense(3, dtype="float64")
        layer.build((None, 2))
        layer.bias.assign(bias)
        _, W = linear_map_through([layer], ops.ones((1, 2), "float64"))
        _, share = W.pull_back(ops.convert_to_tensor(row[np.newaxis], "float64"))
        share = ops.convert_to_numpy(share)
    np.testing.assert_allclose(share, [bias @ row], rtol=1e-12)


def test_an_unused_output_of_a_nested_model_need_not_be_linear(rng):
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(2, "softmax")(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)[0]))
    x = rng.standard_normal((2, 4)).astype("float32")
    outputs, W = linear_map(model, x)
    np.testing.assert_allclose(ops.convert_to_numpy(W @ x), ops.convert_to_numpy(model(x)), atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), ops.convert_to_numpy(model(x)), atol=1e-6)
