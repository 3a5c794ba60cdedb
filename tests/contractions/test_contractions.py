"""Every form of the contraction against eq. (1) with every weight vector built, in float64, and against the others."""

import keras
import numpy as np
import pytest
from keras import ops
from on_backend import evaluate, gradients
from reference import Convolution, relative_error

import keras_coda
from keras_coda import DAUConv2D
from keras_coda.backend import cpu_kernels, pull_back
from keras_coda.contractions import blocked

TOLERANCE = 1e-5
FORMS = ["direct", "blocked"]
# Channels, kernel and rank: the patches have 18 numbers, more than the rank, or 2, fewer.
SHAPES = {"wide patches": (2, 3, 3), "narrow patches": (2, 1, 5)}


def small_blocks(monkeypatch, kernels):
    """Blocks of few patches, and on PyTorch of one or two of the rank, too."""
    monkeypatch.setattr(kernels, "BLOCK", 30)
    monkeypatch.setattr(kernels, "PATCHES", 7, raising=False)


@pytest.fixture(params=[*FORMS, "blocked, K^T x kept"])
def form(request, monkeypatch):
    """The form set; blocks are so small that there are several, the last of them not full."""
    form, *kept = request.param.split(", ")
    small_blocks(monkeypatch, cpu_kernels or blocked)
    if kept:
        monkeypatch.setattr(cpu_kernels or blocked, "KEPT_FROM", 0)
    keras_coda.set_contraction(form)
    yield form
    keras_coda.set_contraction("auto")


def make_layer(drawn, channels, kernel_size, rank, **kwargs):
    initializers = {"a_initializer": drawn, "b_initializer": drawn, "bias_initializer": drawn}
    layer = DAUConv2D(3, kernel_size, rank, strides=2, padding="symmetric", **{**initializers, **kwargs})
    layer.build((None, 7, 6, channels))
    return layer


def reference_of(layer):
    kernels = (layer.a_kernel, layer.b_kernel, layer.bias)
    return Convolution(*(None if k is None else ops.convert_to_numpy(k) for k in kernels), 2, "symmetric", "sq")


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients(rng, drawn, form, shape, use_bias):
    channels, kernel_size, rank = SHAPES[shape]
    layer = make_layer(drawn, channels, kernel_size, rank, use_bias=use_bias)
    images = rng.standard_normal((3, 7, 6, channels)).astype("float32")
    reference = reference_of(layer)
    want, _ = reference(images)
    cotangent = rng.standard_normal(want.shape)

    def call(x, *weights):
        return layer.stateless_call(weights, [], x)[0]

    arrays = [images, *(ops.convert_to_numpy(variable) for variable in layer.trainable_variables)]
    outputs, got = gradients(call, arrays, cotangent)
    assert relative_error(outputs, want) < TOLERANCE
    errors = [relative_error(g, w) for g, w in zip(got, reference.gradients(images, cotangent), strict=True)]
    assert max(errors) < TOLERANCE, errors


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_map_of_several_vectors(rng, drawn, form, shape):
    channels, kernel_size, rank = SHAPES[shape]
    layer = make_layer(drawn, channels, kernel_size, rank)
    images = rng.standard_normal((2, 7, 6, channels)).astype("float32")
    outputs, matrix = reference_of(layer)(images)
    v = rng.standard_normal((4, *images.shape)).astype("float32")
    u = rng.standard_normal((4, *outputs.shape)).astype("float32")

    def both(x, v, u):
        _, W = layer.linear_map(x)
        return W @ v, W.T @ u

    applied, transposed = evaluate(both, images, v, u)
    want = np.einsum("nij,knj->kni", matrix, v.reshape(4, 2, -1)).reshape(u.shape)
    assert relative_error(applied, want) < TOLERANCE
    want = np.einsum("nij,kni->knj", matrix, u.reshape(4, 2, -1)).reshape(v.shape)
    assert relative_error(transposed, want) < TOLERANCE


@pytest.mark.parametrize("use_bias", [True, False])
def test_float16_with_products_beyond_its_range(rng, drawn, form, use_bias):
    """u_j . x is up to 6e5 here, and float16 ends at 65504; outputs and gradients are within its range."""
    layer = make_layer(drawn, 2, 3, 3, use_bias=use_bias, dtype="mixed_float16")
    images = 600 * rng.random((2, 7, 6, 2)).astype("float32")
    reference = reference_of(layer)
    want, matrix = reference(images)
    cotangent = rng.standard_normal(want.shape)

    def call(x, *weights):
        return layer.stateless_call(weights, [], x)[0]

    def both(x, u):
        _, W = layer.linear_map(x)
        return W @ x, W.T @ u

    arrays = [images, *(ops.convert_to_numpy(variable) for variable in layer.trainable_variables)]
    outputs, got = gradients(call, arrays, cotangent)
    applied, transposed = evaluate(both, images, cotangent)
    assert relative_error(outputs, want) < 2e-3
    assert relative_error(applied, want) < 2e-3
    want = np.einsum("nij,ni->nj", matrix, cotangent.reshape(2, -1)).reshape(images.shape)
    assert relative_error(transposed, want) < 2e-3
    errors = [relative_error(g, w) for g, w in zip(got, reference.gradients(images, cotangent), strict=True)]
    assert max(errors) < 2e-2, errors


def test_gradients_of_the_transposed_map(rng, drawn, monkeypatch):
    """As the penalty takes them (eq. 10): the form "direct" leaves them to the backend, "blocked" has its own."""
    layer = make_layer(drawn, 2, 3, 3)
    images = rng.standard_normal((2, 7, 6, 2)).astype("float32")
    u = rng.standard_normal((3, 2, 4, 3, 3)).astype("float32")

    def rows(x, u, *weights):
        with keras.StatelessScope(state_mapping=zip(layer.trainable_variables, weights, strict=True)):
            _, W = layer.linear_map(x)
            return W.T @ u

    arrays = [images, u, *(ops.convert_to_numpy(variable) for variable in layer.trainable_variables)]
    cotangent = rng.standard_normal((3, *images.shape))
    small_blocks(monkeypatch, cpu_kernels or blocked)
    results = {}
    for form in FORMS:
        keras_coda.set_contraction(form)
        results[form] = gradients(rows, arrays, cotangent)
    keras_coda.set_contraction("auto")
    for direct, other in zip(
        keras.tree.flatten(results["direct"]), keras.tree.flatten(results["blocked"]), strict=True
    ):
        assert relative_error(other, direct) < TOLERANCE


@pytest.mark.parametrize("kernels", [blocked, *([cpu_kernels] if cpu_kernels else [])])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2), ("float16", 2e-3)])
def test_kernels(rng, monkeypatch, kernels, dtype, tolerance):
    small_blocks(monkeypatch, kernels)
    arrays = {"m,d": (17, 5), "m,r": (17, 3), "m,n": (17, 2), "d,r,n": (5, 3, 2)}
    arrays = {axes: rng.standard_normal(shape).astype("float32") for axes, shape in arrays.items()}
    x, z, y, kernel = (ops.convert_to_tensor(array, dtype=dtype) for array in arrays.values())
    x64, z64, y64, kernel64 = (array.astype("float64") for array in arrays.values())
    y_kept, kept = kernels.products_and_kept(x, z, kernel)
    results = {
        "md,mr,drn->mn": (kernels.products(x, z, kernel), (x64, z64, kernel64)),
        "md, mr, drn -> mn": (y_kept, (x64, z64, kernel64)),
        "md, mn, drn -> mr": (kernels.z_gradient_of_kept(kept, y, 3), (x64, y64, kernel64)),
        "mr,mn,drn->md": (kernels.input_gradient(z, y, kernel), (z64, y64, kernel64)),
        "md,mn,drn->mr": (kernels.z_gradient(x, y, kernel), (x64, y64, kernel64)),
        "md,mr,mn->drn": (kernels.kernel_gradient(x, z, y), (x64, z64, y64)),
    }
    for equation, (got, arguments) in results.items():
        want = np.einsum(equation, *arguments)
        assert keras.backend.standardize_dtype(got.dtype) == ("float32" if equation.endswith("drn") else dtype)
        assert relative_error(ops.convert_to_numpy(ops.cast(got, "float32")), want) < tolerance, equation


@pytest.mark.parametrize("kernels", [blocked, *([cpu_kernels] if cpu_kernels else [])])
@pytest.mark.parametrize("rank", [3, 37])
def test_quadratic_kernels(rng, monkeypatch, kernels, rank):
    """37 is more than two of the pieces that PyTorch's kernels take of the triangle."""
    small_blocks(monkeypatch, kernels)
    z, y, gram = (rng.standard_normal(shape).astype("float32") for shape in ((17, rank), (17, 2), (rank, rank, 2)))
    gram = gram + gram.transpose(1, 0, 2)
    z64, y64, gram64 = (array.astype("float64") for array in (z, y, gram))
    z, y, gram = map(ops.convert_to_tensor, (z, y, gram))
    got = ops.convert_to_numpy(kernels.quadratic(z, gram))
    assert relative_error(got, np.einsum("ma,mb,abn->mn", z64, z64, gram64)) < 1e-6
    got = ops.convert_to_numpy(kernels.quadratic_z_gradient(z, y, gram))
    assert relative_error(got, np.einsum("mb,mn,abn->ma", z64, y64, gram64)) < 1e-6
    got = ops.convert_to_numpy(kernels.quadratic_gradient(z, y))
    assert relative_error(got, np.einsum("ma,mb,mn->abn", z64, z64, y64)) < 1e-6


@pytest.mark.skipif(not cpu_kernels, reason="PyTorch's own kernels")
@pytest.mark.parametrize("rows", [1, 17, 40, 42])
def test_sums_in_a_part_for_each_thread(rng, monkeypatch, rows):
    """Of three threads, whose parts divide all blocks, none, or all but the last."""
    monkeypatch.setattr(cpu_kernels.torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(cpu_kernels, "BLOCK", 48)
    assert cpu_kernels._parts(5 * 3 * 2) == 3
    x, z, y, gram = (
        rng.standard_normal(shape).astype("float32") for shape in ((rows, 5), (rows, 3), (rows, 2), (3, 3, 2))
    )
    gram = gram + gram.transpose(1, 0, 2)
    x64, z64, y64, gram64 = (array.astype("float64") for array in (x, z, y, gram))
    x, z, y, gram = map(ops.convert_to_tensor, (x, z, y, gram))
    got = ops.convert_to_numpy(cpu_kernels.kernel_gradient(x, z, y))
    assert relative_error(got, np.einsum("md,mr,mn->drn", x64, z64, y64)) < 1e-6
    got = ops.convert_to_numpy(cpu_kernels.quadratic_gradient(z, y))
    assert relative_error(got, np.einsum("ma,mb,mn->abn", z64, z64, y64)) < 1e-6
    got = ops.convert_to_numpy(cpu_kernels.quadratic(z, gram))
    assert relative_error(got, np.einsum("ma,mb,abn->mn", z64, z64, gram64)) < 1e-6


@pytest.mark.parametrize("kernels", [blocked, *([cpu_kernels] if cpu_kernels else [])])
def test_quadratic_kernels_are_exact_in_low_precision(rng, kernels):
    """z in bfloat16 loses nothing more: norms are computed in float32."""
    z = ops.convert_to_tensor(rng.standard_normal((17, 5)).astype("float32"), dtype="bfloat16")
    z64 = ops.convert_to_numpy(ops.cast(z, "float32")).astype("float64")
    y, gram = (rng.standard_normal(shape).astype("float32") for shape in ((17, 2), (5, 5, 2)))
    gram = gram + gram.transpose(1, 0, 2)
    results = {
        "ma,mb,abn->mn": (kernels.quadratic(z, ops.convert_to_tensor(gram)), (z64, z64, gram)),
        "mb,mn,abn->ma": (kernels.quadratic_z_gradient(z, *map(ops.convert_to_tensor, (y, gram))), (z64, y, gram)),
        "ma,mb,mn->abn": (kernels.quadratic_gradient(z, ops.convert_to_tensor(y)), (z64, z64, y)),
    }
    for equation, (got, arguments) in results.items():
        assert keras.backend.standardize_dtype(got.dtype) == "float32"
        want = np.einsum(equation, *(array.astype("float64") for array in arguments))
        assert relative_error(ops.convert_to_numpy(got), want) < 1e-6, equation


def test_what_is_kept_serves_several_gradients(rng, monkeypatch):
    """As for the attributions of several classes."""
    monkeypatch.setattr(cpu_kernels or blocked, "KEPT_FROM", 0)
    layer = DAUConv2D(2, 3, 3)
    images = ops.convert_to_tensor(rng.standard_normal((2, 5, 5, 2)).astype("float32"))
    layer.build(images.shape)
    outputs, _, pull = pull_back(lambda x: (layer(x), ()), images)
    cotangent = rng.standard_normal(outputs.shape).astype("float32")
    first, second = ops.convert_to_numpy(pull(ops.convert_to_tensor(np.stack([cotangent, 2.0 * cotangent]))))
    assert relative_error(second, 2.0 * first) < 1e-6


def test_the_setting():
    for form in FORMS:
        keras_coda.set_contraction(form)
        assert keras_coda.contraction() == form
    keras_coda.set_contraction("auto")
    assert keras_coda.contraction() in FORMS
    with pytest.raises(ValueError, match=r"one of \['auto', 'blocked', 'direct', 'fused'\]. Received: 'fast'"):
        keras_coda.set_contraction("fast")


def test_the_form_that_is_chosen(monkeypatch):
    """The GPU's own kernels where they are known to be fast, and nowhere else."""
    monkeypatch.setattr(keras_coda.backend, "runs_on_cpu", lambda: False)
    assert [keras_coda.contraction(dtype) for dtype in ("float32", "bfloat16")] == ["direct", "direct"]
    monkeypatch.setattr(keras_coda.backend, "prefers_gpu_kernels", lambda dtype: dtype == "bfloat16")
    assert [keras_coda.contraction(dtype) for dtype in ("float32", "bfloat16")] == ["direct", "fused"]
    assert keras_coda.contraction() == "direct"  # of layers in Keras' own dtype
    monkeypatch.setattr(keras_coda.backend, "runs_on_cpu", lambda: True)
    assert keras_coda.contraction("bfloat16") == "blocked"
    monkeypatch.setattr(keras.distribution, "distribution", lambda: "some devices")
    assert keras_coda.contraction("bfloat16") == "direct"


def test_no_patches_at_all(form):
    """As a device gets them where a batch is smaller than the number of devices."""
    layer = keras_coda.DAUDense(3, rank=2)
    layer.build((None, 4))
    assert layer(np.zeros((0, 4), "float32")).shape == (0, 3)
