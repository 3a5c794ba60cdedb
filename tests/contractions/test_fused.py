"""The fused kernels of each backend against sums in float64; without a GPU, in the interpreter of their language."""

import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from on_backend import evaluate
from reference import relative_error

import keras_coda
from keras_coda import backend

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    pytest.skip("There are no fused kernels for TensorFlow.", allow_module_level=True)
if BACKEND == "torch":
    pytest.importorskip("triton", reason="The kernels for PyTorch are written in Triton, which is not installed.")

INTERPRETER = "TRITON_INTERPRET"
# Triton reads this when it is imported, which Keras has done before.
ELSEWHERE = BACKEND == "torch" and backend.runs_on_cpu() and INTERPRETER not in os.environ
here = pytest.mark.skipif(ELSEWHERE, reason="runs in the process of test_in_the_interpreter_of_triton")

fused = importlib.import_module(f"keras_coda.backend.fused_{BACKEND}")

FUNCTIONS = {
    "products": ("xzk", "md,mr,drn->mn"),
    "input_gradient": ("zyk", "mr,mn,drn->md"),
    "z_gradient": ("xyk", "md,mn,drn->mr"),
    "kernel_gradient": ("xzy", "md,mr,mn->drn"),
}
# Triton's interpreter multiplies the bits of bfloat16 as if they were integers.
HALF = "float16" if BACKEND == "torch" else "bfloat16"
TOLERANCES = {"float32": 1e-5, HALF: 1e-2}
# Patches, d, r and n.
SIZES = {
    "less than a block": (37, 18, 5, 3),
    "several blocks of patches and d": (130, 70, 33, 16),
    "several blocks of d, r and n": (33, 70, 9, 40),
    "several parts of the sum over patches": (200, 8, 2, 3),
    "one patch": (1, 16, 3, 16),
}


def make_arrays(rng, dtype, patches, d, r, n):
    """Numbers of `dtype`, in float32."""
    shapes = {"x": (patches, d), "z": (patches, r), "y": (patches, n), "k": (d, r, n)}
    arrays = {key: rng.standard_normal(shape).astype("float32") for key, shape in shapes.items()}
    rounded = evaluate(lambda *tensors: [ops.cast(ops.cast(t, dtype), "float32") for t in tensors], *arrays.values())
    return dict(zip(arrays, rounded, strict=True))


@pytest.mark.skipif(not ELSEWHERE, reason="the tests run in this process")
def test_in_the_interpreter_of_triton():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    child = subprocess.run(command, env={**os.environ, INTERPRETER: "1"}, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout


@here
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums(rng, name, size, dtype):
    keys, equation = FUNCTIONS[name]
    arrays = make_arrays(rng, dtype, *SIZES[size])
    arguments = [arrays[key] for key in keys]

    def call(*tensors):
        result = getattr(fused, name)(*(ops.cast(tensor, dtype) for tensor in tensors))
        expected = "float32" if name == "kernel_gradient" else dtype
        assert keras.backend.standardize_dtype(result.dtype) == expected
        return ops.cast(result, "float32")

    want = np.einsum(equation, *(array.astype("float64") for array in arguments), optimize=True)
    assert relative_error(evaluate(call, *arguments), want) < TOLERANCES[dtype]


@here
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_patches(name):
    shapes = {"x": (0, 4), "z": (0, 3), "y": (0, 2), "k": (4, 3, 2)}
    result = evaluate(getattr(fused, name), *(np.zeros(shapes[key], "float32") for key in FUNCTIONS[name][0]))
    np.testing.assert_array_equal(result, np.zeros((4, 3, 2) if name == "kernel_gradient" else (0, result.shape[1])))


@here
def test_rows_that_are_not_contiguous(rng):
    arrays = make_arrays(rng, "float32", 20, 6, 3, 4)
    x = np.ascontiguousarray(arrays["x"].T)
    result = evaluate(lambda x, z, k: fused.products(ops.transpose(x), z, k), x, arrays["z"], arrays["k"])
    want = np.einsum("md,mr,drn->mn", *(arrays[key].astype("float64") for key in "xzk"))
    assert relative_error(result, want) < TOLERANCES["float32"]


@here
def test_dtypes():
    assert all(fused.supports(dtype) for dtype in ("float32", "bfloat16", "float16"))
    assert not fused.supports("float64")
    x, z, k = (ops.zeros(shape, "float32") for shape in ((2, 4), (2, 3), (4, 3, 2)))
    with pytest.raises(TypeError, match=r"one dtype of .*float32.*\. Received: .*float16"):
        fused.products(x, ops.cast(z, "float16"), k)


@pytest.mark.skipif(BACKEND != "jax", reason="PyTorch: in the child process only; TensorFlow has no fused kernels")
def test_layers_take_the_fused_kernels(rng, drawn):
    layer = keras_coda.DAUConv2D(3, 3, 3, a_initializer=drawn, b_initializer=drawn, bias_initializer=drawn)
    images = rng.standard_normal((2, 5, 5, 2)).astype("float32")
    layer.build(images.shape)
    want = evaluate(layer, images)
    keras_coda.set_contraction("fused")
    try:
        assert keras_coda.contraction() == "fused"
        assert relative_error(evaluate(lambda x: layer(x), images), want) < 1e-5
    finally:
        keras_coda.set_contraction("auto")
