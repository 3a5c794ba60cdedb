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

fused = importlib.import_module(f"keras_coda.backend.kernels.fused_{BACKEND}")

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


NORMS = {
    "quadratic": ("zzg", "ma,mb,abn->mn"),
    "quadratic_z_gradient": ("zyg", "mb,mn,abn->ma"),
    "quadratic_gradient": ("zzy", "ma,mb,mn->abn"),
}


@here
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", NORMS)
def test_norms(rng, name, dtype):
    """Of z in the dtype of the layer and G in float32: |u|^2 to 16 bits at least, even of z in bfloat16."""
    z, y, gram = (rng.standard_normal(shape).astype("float32") for shape in ((70, 5), (70, 3), (5, 5, 3)))
    z = evaluate(lambda z: ops.cast(ops.cast(z, dtype), "float32"), z)
    arrays = {"z": z, "y": y, "g": gram + gram.transpose(1, 0, 2)}
    keys, equation = NORMS[name]
    arguments = [arrays[key] for key in dict.fromkeys(keys)]

    def call(z, *rest):
        result = getattr(fused, name)(ops.cast(z, dtype), *rest)
        assert name == "quadratic_z_gradient" or keras.backend.standardize_dtype(result.dtype) == "float32"
        return ops.cast(result, "float32")

    want = np.einsum(equation, *(arrays[key].astype("float64") for key in keys))
    assert relative_error(evaluate(call, *arguments), want) < (3e-5 if name == "quadratic" else TOLERANCES[dtype])


@pytest.mark.skipif(not ELSEWHERE, reason="compiles for a GPU, which Triton cannot where it interprets, nor Pallas")
@pytest.mark.parametrize("name", ["input_gradient", "kernel_gradient"])
def test_no_operand_changes_while_it_is_read(name):
    """On Hopper GPUs, whose tensor cores read it from registers while the program goes on (triton-lang/triton#9433).

    After each product the compiled loop waits until none is under way.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    d, r, n = 144, 33, 16
    t = fused.tiles(name, d, r, n, 2)
    function = getattr(fused, f"_{name}")
    tile = {"D": d, "R": r, "N": n, "BM": t.patches, "BD": t.inputs, "BR": t.ranks, "BN": t.units, "PRECISION": "ieee"}
    types = {key: "constexpr" if key in tile else "i32" for key in function.arg_names}
    types |= {key: "*fp32" if key == "sums_pointer" else "*bf16" for key in types if key.endswith("_pointer")}
    aligned = {(i,): [["tt.divisibility", 16]] for i, key in enumerate(types) if key not in tile}
    source = triton.compiler.ASTSource(fn=function, signature=types, constexprs=tile, attrs=aligned)
    options = {"num_warps": t.warps, "num_stages": t.stages}
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ttgir"]
    loop = code[code.index("scf.for") :]
    loop = loop[: loop.index("scf.yield", loop.index("warp_group_dot "))].splitlines()
    assert any("warp_group_dot " in line for line in loop)
    waits = [line for line in loop if "warp_group_dot_wait" in line]
    assert waits, loop
    assert all("pendings = 0" in line for line in waits), waits


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
