"""Exported files, run by their own runtimes, against the model's own outputs and explanations."""

import importlib.util
import json
import re
import shutil
import sys
import threading
import types
import warnings
import zipfile

import keras
import numpy as np
import pytest
from clients import RUN
from reference import relative_error
from small_models import CLASSES, small_coda_net

import keras_coda
from keras_coda import backend, contractions
from keras_coda.exporting import FORMATS, formats, metadata_of
from keras_coda.exporting.explained_model import ExplainedModel
from keras_coda.exporting.sizes import check_sizes

BACKEND = keras.backend.backend()
TINY = {"filters": [3, CLASSES], "kernel_sizes": [3, 3], "ranks": [2, 2], "strides": [2, 1]}
NAMES = ["cat", "dog", "owl", "fox"]
# What pip does not install with the backend.
NEEDED = {
    ("onnx", "torch"): ("onnx_ir", "onnxruntime"),
    ("onnx", "tensorflow"): ("onnx_ir", "onnxruntime", "tf2onnx"),
    ("onnx", "jax"): ("onnx_ir", "onnxruntime", "jax2onnx"),
    ("tf_saved_model", "jax"): ("tensorflow",),
    ("litert", "tensorflow"): ("ai_edge_litert",),
}


def installed(name):
    return all(importlib.util.find_spec(module) for module in NEEDED.get((name, BACKEND), ()))


WRITTEN = [name for name, form in FORMATS.items() if BACKEND in form.backends]
HERE = [
    pytest.param(name, marks=pytest.mark.skipif(not installed(name), reason=f"needs {NEEDED.get((name, BACKEND))}"))
    for name in WRITTEN
]
QUICKEST = [p for p in HERE if p.values[0] == ("onnx" if BACKEND == "torch" else "tf_saved_model")]
needs_onnx = pytest.mark.skipif(not installed("onnx"), reason=f"needs {NEEDED['onnx', BACKEND]}")


@pytest.fixture(scope="module")
def model():
    """A network that has never been called."""
    return small_coda_net(**TINY, image_shape=(None, None, 3))


@pytest.fixture
def images(rng):
    return rng.random((3, 8, 6, 3)).astype("float32")


def check(outputs, explanation, tolerance=1e-5):
    assert relative_error(outputs["logits"], explanation.logits) < tolerance
    assert relative_error(outputs["contribution_map"], explanation.contribution_map) < tolerance
    assert relative_error(outputs["probabilities"], 1 / (1 + np.exp(-explanation.logits))) < tolerance
    assert outputs["residual"].shape == explanation.residual.shape
    total = outputs["contribution_map"].sum((-2, -1)) + explanation.bias + outputs["residual"]
    chosen = np.take_along_axis(explanation.logits, explanation.targets.reshape(len(explanation), -1), 1)
    assert relative_error(total, chosen.reshape(total.shape)) < tolerance


def state(model):
    """What an export may not change."""
    modes = [module.training for module in model.modules()] if BACKEND == "torch" else []
    return [*modes, *(array.tobytes() for array in model.get_weights()), keras_coda.contraction()]


@pytest.mark.parametrize("form", HERE)
def test_outputs_and_facts(model, images, tmp_path, form):
    path = tmp_path / f"model{FORMATS[form].suffix}"
    before = state(model)
    arguments = {"explain": "all", "classes": NAMES, "image_shape": images.shape[1:]}
    if (form, BACKEND) == ("onnx", "jax"):
        with pytest.raises(ValueError, match=r"jax2onnx cannot write this model. It writes the maps of one class"):
            keras_coda.export(model, path, **arguments)
        return
    assert keras_coda.export(model, path, **arguments) == path
    assert state(model) == before
    assert [*tmp_path.iterdir()] == [path]
    check(RUN[form](path, images), model.explain(images, "all"))
    facts = metadata_of(path)
    assert facts["classes"] == NAMES
    assert facts["explained"] == [0, 1, 2, 3]
    assert facts["image_shape"] == [8, 6, 3]
    assert facts["outputs"]["contribution_map"] == ["batch", 4, 8, 6]
    assert facts["value_range"] == [0, 1]
    # Another number of images.
    check(RUN[form](path, images[:1]), model.explain(images[:1], "all"))


# torch.export takes half a minute there; scripts/studies/export_matrix.py tries it.
@pytest.mark.parametrize("form", [p for p in HERE if p.values[0] != "torch"])
def test_any_size(model, images, tmp_path, form):
    path = keras_coda.export(model, tmp_path / f"model{FORMATS[form].suffix}", image_shape=(None, None, 3))
    for some in (images, images[:, 1:, :5]):
        check(RUN[form](path, some), model.explain(some))
    assert metadata_of(path)["outputs"]["contribution_map"] == ["batch", "height", "width"]
    if form == "onnx":
        graph, facts = importlib.import_module("onnx_ir").load(path).graph, metadata_of(path)
        axes = {value.name: [*map(str, value.shape)] for value in (*graph.inputs, *graph.outputs)}
        assert axes == {name: [*map(str, of)] for name, of in {**facts["inputs"], **facts["outputs"]}.items()}
        # Had the exporter written another network, that would be noticed.
        other = ExplainedModel(small_coda_net(**TINY, temperature=1.0, image_shape=(None, None, 3)))
        spec = keras.layers.InputSpec(shape=(None, None, None, 3), dtype="float32", name="images")
        with pytest.raises(ValueError, match="at another size: other results"):
            check_sizes(other, spec, "ONNX", lambda: FORMATS[form].load()._runner(path))


def padded(image_shape, kernel, strides):
    """A model with padding "same"."""
    inputs = keras.Input(image_shape)
    x = keras_coda.layers.InputEncoding()(inputs)
    for k, stride in zip(kernel, strides, strict=True):
        x = keras_coda.DAUConv2D(CLASSES, k, 2, strides=stride, padding="same")(x)
    return keras.Model(inputs, keras_coda.layers.SumPooling2D()(x))


ANY_OR_ONE = [pytest.param((None, None, 3), id="any"), pytest.param((8, 6, 3), id="one")]


@pytest.mark.parametrize("form", QUICKEST)
@pytest.mark.parametrize("image_shape", ANY_OR_ONE[1:] if BACKEND == "jax" else ANY_OR_ONE)
def test_strides_larger_than_the_kernel(images, tmp_path, form, image_shape):
    model = padded(image_shape, [2], [3])
    path = keras_coda.export(model, tmp_path / f"model{FORMATS[form].suffix}")
    for some in (images, images[:, 1:, :5]) if image_shape[0] is None else (images,):
        check(RUN[form](path, some), keras_coda.explain(model, some))


@needs_onnx
@pytest.mark.skipif(BACKEND == "jax", reason="jax2onnx takes no such padding for images of any size")
def test_one_size_only(tmp_path):
    """What only one of the exporters gets wrong, see `_check_sizes`."""
    kernel, strides = ([1], [4]) if BACKEND == "tensorflow" else ([1, 2], [2, 3])
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"ONNX for images of one size: name it.*\(None, None, 3\)"):
        keras_coda.export(padded((None, None, 3), kernel, strides), path)
    assert not path.exists()


@pytest.mark.skipif(BACKEND != "torch", reason="writes no such files")
def test_any_size_in_files_of_torch_export(tmp_path, rng):
    """Each traced size is a condition of the file. One that holds for some images only is refused."""
    inputs, path = keras.Input((None, None, 3)), tmp_path / "model.pt2"
    sums = keras_coda.layers.SumPooling2D()
    plain = keras.Model(inputs, sums(keras.layers.Conv2D(2, 1)(inputs)))
    keras_coda.export(plain, path)
    for shape in ((1, 5, 9, 3), (2, 66, 64, 3)):
        some = rng.random(shape).astype("float32")
        check(RUN["torch"](path, some), keras_coda.explain(plain, some))
    path.unlink()
    for layer in (keras.layers.Conv2D(2, 3, 2), keras.layers.GlobalAveragePooling2D(keepdims=True)):
        with pytest.raises(ValueError, match=r"torch.export for images of one size: name it.*at another size: Guard"):
            keras_coda.export(keras.Model(inputs, sums(layer(inputs))), path)
        assert not path.exists()


@needs_onnx
@pytest.mark.skipif(BACKEND == "jax", reason="jax2onnx has no padding of images of any size here")
def test_a_network_of_large_images(tmp_path, rng):
    """It takes images of 59 pixels or more."""
    inputs = keras.Input((None, None, 3))
    x = keras_coda.DAUConv2D(2, 7, 2, strides=4, padding="valid")(keras_coda.layers.InputEncoding()(inputs))
    x = keras_coda.DAUConv2D(3, 14, 2, padding="valid")(x)
    model = keras.Model(inputs, keras_coda.layers.SumPooling2D()(x))
    images = rng.uniform(size=(1, 70, 64, 3)).astype("float32")
    check(RUN["onnx"](keras_coda.export(model, tmp_path / "model.onnx"), images), keras_coda.explain(model, images))


@needs_onnx
@pytest.mark.skipif(BACKEND == "jax", reason="jax2onnx chooses the version")
def test_int8_needs_a_version_that_has_it(model, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"int8 needs opset_version=13 or later\. Received: 12"):
        keras_coda.export(model, path, opset_version=12, weights="int8")
    assert not path.exists()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A network of which weights are worth fewer bits, and its file.

    One weight is larger than 1 MB. Such weights jax2onnx writes into a second file.
    """
    model = small_coda_net(**{**TINY, "filters": [32, CLASSES], "ranks": [8, 240]}, image_shape=(8, 6, 3))
    path = tmp_path_factory.mktemp("wide") / "model.onnx"
    with warnings.catch_warnings():
        if BACKEND == "torch":
            # PyTorch's exporter gives a dozen, which say nothing to a user.
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="__array__ implementation")  # of tensors, by NumPy
        return model, keras_coda.export(model, path, input_dtype="uint8")


@needs_onnx
def test_the_predicted_class_of_integer_images(wide, images):
    model, path = wide
    images = (images * 255).astype("uint8")
    check(RUN["onnx"](path, images), model.explain(images))
    assert metadata_of(path)["value_range"] == [0, 255]
    assert [*path.parent.iterdir()] == [path]
    assert path.stat().st_size > 2**20


@needs_onnx
def test_an_onnx_file_holds_what_it_needs(wide):
    file = importlib.import_module("onnx_ir").load(wide[1])
    assert {*file.opset_imports} == {""}
    assert file.producer_name == "keras-coda"
    assert not any(node.doc_string or node.metadata_props for node in file.graph)
    # Each weight is stored once, and what depends on the weights alone is computed.
    stored = file.graph.initializers
    arrays = [value.const_value.numpy() for value in stored.values()]
    assert len({(array.dtype, array.shape, array.tobytes()) for array in arrays}) == len(arrays)
    assert all({value.name for value in node.inputs if value is not None} - {*stored} for node in file.graph)


@needs_onnx
@pytest.mark.one_backend
def test_int8_values_are_the_nearest_of_each_filter(rng):
    array = (rng.normal(size=(4, 3, 2, 2)) * np.geomspace(1e-3, 1e3, 4)[:, None, None, None]).astype("float32")
    array[1] = 0
    with np.errstate(all="raise"):
        values, scales = FORMATS["onnx"].load()._to_int8(array, 0)
    assert np.abs(values).max() == 127
    largest = np.abs(array).max(axis=(1, 2, 3))
    error = np.abs(values * scales[:, None, None, None] - array).max(axis=(1, 2, 3))
    assert (error <= largest / 127 / 2 * (1 + 1e-5)).all()


@needs_onnx
@pytest.mark.parametrize(("weights", "tolerance"), [("float16", 2e-3), ("int8", 5e-2)])
def test_weights_in_fewer_bits(wide, images, tmp_path, weights, tolerance):
    model, full = wide
    path = tmp_path / "small.onnx"
    shutil.copyfile(full, path)
    FORMATS["onnx"].load().finish(path, {**metadata_of(full), "weights": weights})
    images = (images * 255).astype("uint8")
    explanation, outputs = model.explain(images), RUN["onnx"](path, images)
    errors = [relative_error(outputs[name], getattr(explanation, name)) for name in ("logits", "contribution_map")]
    assert 1e-5 < max(errors) < tolerance  # stored in fewer bits, and not in far too few
    graph = importlib.import_module("onnx_ir").load(path).graph
    for node in graph if weights == "int8" else ():
        if node.op_type == "DequantizeLinear":  # a scale for each filter: those of a convolution come first
            array, axis = node.inputs[0].const_value.numpy(), node.attributes["axis"].as_int()
            assert axis == (0 if array.ndim == 4 else array.ndim - 1)
            assert (np.abs(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)).max(axis=1) == 127).all()


@pytest.mark.parametrize("form", HERE)
def test_keras_own_export_whatever_is_set(images, tmp_path, form):
    """Of a model of Keras' own, whose `export` knows nothing of this package."""
    layers = keras_coda.layers
    chain = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.InputEncoding(),
            keras_coda.DAUConv2D(4, 3, 2, strides=2, padding="symmetric"),
            layers.SumPooling2D(),
        ]
    )
    # Without more arguments a file of `torch.export` takes one image.
    images = images[:1] if form == "torch" else images
    path = tmp_path / f"chain{FORMATS[form].suffix}"
    with keras_coda.set_contraction("blocked"):
        want = chain.predict(images, verbose=0)
        chain(images)  # Keras wants models of its own to have been called
        chain.export(str(path), format=form, verbose=False)
    [outputs] = RUN[form](path, images).values()
    assert relative_error(outputs, want) < 1e-5


@needs_onnx
def test_export_of_a_network_that_was_never_called(images, tmp_path):
    network, path = small_coda_net(**TINY, image_shape=images.shape[1:]), tmp_path / "network.onnx"
    network.export(str(path), format="onnx", verbose=False)
    [outputs] = RUN["onnx"](path, images).values()
    assert relative_error(outputs, network.predict(images, verbose=0)) < 1e-5


@pytest.mark.parametrize("form", QUICKEST)
def test_hybrid(images, tmp_path, form):
    """Its maps are of the size of its stem's features, and its stem takes integers as they are."""
    inputs = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    stem = keras.Model(inputs, keras.layers.Conv2D(4, 3, 2, "same", activation="relu", name="cut")(scaled))
    model = keras_coda.models.hybrid(stem, "cut", [CLASSES], [3], [2])
    path = tmp_path / f"hybrid{FORMATS[form].suffix}"
    keras_coda.export(model, path, [3, 1], image_shape=(8, 6, 3), input_dtype="uint8")
    images = (255 * images).astype("uint8")
    check(RUN[form](path, images), keras_coda.explain(model, images, np.array([[3, 1]] * 3)))
    assert metadata_of(path)["outputs"]["contribution_map"] == ["batch", 2, 4, 3]


@pytest.mark.parametrize("form", QUICKEST)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_other_models_of_the_unit_range(images, tmp_path, form, dtype):
    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    path = tmp_path / f"linear{FORMATS[form].suffix}"
    keras_coda.export(model, path, input_dtype=dtype, unit_range=True)
    bytes_ = np.round(255 * images).astype("uint8")
    scaled = bytes_ / np.float32(255)
    check(RUN[form](path, bytes_ if dtype == "uint8" else scaled), keras_coda.explain(model, scaled))
    assert metadata_of(path)["value_range"] == ([0, 255] if dtype == "uint8" else [0, 1])


@pytest.mark.one_backend
def test_integers_for_a_model_that_takes_the_unit_range_after_other_layers(written, tmp_path):
    """Its file would return NaN, as a graph cannot raise an error."""
    layers = keras.layers
    inner = [layers.Resizing(6, 6), keras_coda.layers.InputEncoding(), layers.Flatten(), layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *inner])
    for arguments in ({}, {"input_dtype": "uint8", "unit_range": True}):
        keras_coda.export(model, tmp_path / "model.onnx", **arguments)
    with pytest.raises(ValueError, match=r"(?s)takes images in \[0, 1\].*Expected: unit_range=True.*to 2\d\d"):
        keras_coda.export(model, tmp_path / "model.onnx", input_dtype="uint8")


def test_refusals(model, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"`path` must end in one of .*Received: .*model.gguf"):
        keras_coda.export(model, tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=r"`format` must be one of .*Received: 'coreml'"):
        keras_coda.export(model, path, format="coreml")
    with pytest.raises(ValueError, match=r"the format 'onnx' must end in '.onnx'|format 'onnx' must end"):
        keras_coda.export(model, tmp_path / "model.bin", format="onnx")
    for other in set(FORMATS) - set(WRITTEN):
        with pytest.raises(ValueError, match=f"{other!r} is written with .*{BACKEND!r}, which writes"):
            keras_coda.export(model, tmp_path / f"model{FORMATS[other].suffix}")
    with pytest.raises(ValueError, match=r"`weights` must be one of .*Received: 'int4'"):
        keras_coda.export(model, path, weights="int4")
    with pytest.raises(ValueError, match=r"`input_dtype` must be one of .*Received: 'float16'"):
        keras_coda.export(model, path, input_dtype="float16")
    for wrong in (["cat"], [*NAMES, "bat"], [1, 2, 3, 4], "abcd"):
        with pytest.raises(ValueError, match=rf"`classes` must be 4 names.*Received: {re.escape(repr(wrong))}"):
            keras_coda.export(model, path, classes=wrong)
    for wrong in ([4], [-1], [], [0.5], 3, [True, False]):
        with pytest.raises(ValueError, match=rf"`explain` must list classes.*Received: {re.escape(repr(wrong))}"):
            keras_coda.export(model, path, wrong)
    with pytest.raises(ValueError, match=r"`explain` must list classes.*Received: \['bird'\]"):
        keras_coda.export(model, path, ["bird"], classes=NAMES)
    with pytest.raises(ValueError, match=r"`explain` must be .*Received: 'best'"):
        keras_coda.export(model, path, "best")
    with pytest.raises(ValueError, match=r"`explain` must list classes, by unique.*Received: \['owl'\]"):
        keras_coda.export(model, path, ["owl"], classes=["cat", "owl", "owl", "fox"])
    for wrong in ((8, 6, 1), (8, 6), (8.0, 6, 3), (0, 6, 3), 8):
        with pytest.raises(ValueError, match=rf"`image_shape` .* \(None, None, 3\).*: {re.escape(repr(wrong))}"):
            keras_coda.export(model, path, image_shape=wrong)
    with pytest.raises(TypeError, match=r"no arguments \['explains'\] for the format"):
        keras_coda.export(model, tmp_path / f"model{FORMATS[WRITTEN[0]].suffix}", explains="all")
    with pytest.raises(ValueError, match=r"Expected a model in float32.*bfloat16"):
        keras_coda.export(small_coda_net(dtype="bfloat16"), path)
    assert not path.exists()


@pytest.mark.parametrize("form", HERE)
def test_channels_first(tmp_path, images, form):
    first = small_coda_net(**TINY, image_shape=(3, 8, 6), data_format="channels_first")
    images = np.moveaxis(images, -1, 1)
    path = tmp_path / f"model{FORMATS[form].suffix}"
    keras_coda.export(first, path)
    check(RUN[form](path, images), keras_coda.explain(first, images))


def sliced():
    inputs = keras.Input((8, 8, 3))
    x = keras_coda.layers.InputEncoding("channels_last")(inputs)
    x = keras.layers.DepthwiseConv2D(3, data_format="channels_last")(x)
    return keras.Model(inputs, keras_coda.layers.SumPooling2D("channels_last")(x))


@pytest.mark.parametrize(
    "form", [p for p in HERE if (p.values[0], BACKEND) in {("onnx", "torch"), ("litert", "tensorflow")}]
)
def test_maps_that_a_format_cannot_hold(tmp_path, form):
    path = tmp_path / f"model{FORMATS[form].suffix}"
    with pytest.raises(ValueError, match=r"cannot (write|run) this model.* depthwise convolutions"):
        keras_coda.export(sliced(), path)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def written(monkeypatch):
    """The facts of the last export. Nothing but one word is written."""
    facts = {}

    def write(model, path, *_, **__):
        path.write_text("complete")
        path.with_name("model.onnx.data").write_text("what some exporters write beside")

    module = types.SimpleNamespace(write=write, finish=lambda path, received: facts.update(received))
    monkeypatch.setattr(formats.Format, "load", lambda form: module)
    return facts


def dense():
    """A model of Keras' own."""
    layers = [keras_coda.layers.InputEncoding(), keras.layers.Flatten(), keras.layers.Dense(4)]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


@pytest.mark.one_backend
def test_defaults_of_names_and_size(written, tmp_path):
    """They are the model's own. A model of Keras' has none, or what its owner set."""
    path, network = tmp_path / "model.onnx", small_coda_net(image_shape=(None, None, 3))
    keras_coda.export(network, path)
    assert (written["classes"], written["image_size"]) == (["0", "1", "2", "3"], None)
    assert written["image_shape"] == [None, None, 3]
    network.class_names, network.image_size = NAMES, (9, 7)
    keras_coda.export(network, path, explain=["fox"])
    assert (written["classes"], written["image_size"], written["explained"]) == (NAMES, [9, 7], [3])
    assert written["image_shape"] == [9, 7, 3]
    own = dense()
    keras_coda.export(own, path)
    assert (written["classes"], written["image_size"]) == (["0", "1", "2", "3"], [8, 8])
    own.class_names = [*NAMES, "bat"]
    with pytest.raises(ValueError, match=r"`model.class_names` must be 4 names.*Received: .*'bat'"):
        keras_coda.export(own, path)
    keras_coda.export(own, path, classes=NAMES)
    own.image_size = (16, 16)
    with pytest.raises(ValueError, match=r"`model.image_size` must fit .*8, 8, 3\). Received: \(16, 16\)"):
        keras_coda.export(own, path, classes=NAMES)
    own.image_size = "large"
    with pytest.raises(ValueError, match=r"`model.image_size` must be .*Received: 'large'"):
        keras_coda.export(own, path, classes=NAMES)


@pytest.mark.one_backend
def test_facts_of_other_models_and_arguments(written, tmp_path):
    path = tmp_path / "model.onnx"
    first = small_coda_net(image_shape=(3, None, None), data_format="channels_first", image_size=(9, 7))
    keras_coda.export(first, path, input_dtype="uint8", probabilities="softmax", weights="float16")
    assert (written["image_shape"], written["data_format"]) == ([3, 9, 7], "channels_first")
    assert (written["name"], written["value_range"]) == (first.name, [0, 255])
    assert [written[key] for key in ("input_dtype", "probabilities", "weights")] == ["uint8", "softmax", "float16"]
    keras_coda.export(first, path, image_shape=(3, None, None))
    assert written["inputs"] == {"images": ["batch", 3, "height", "width"]}
    stem = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, 2, name="cut")])
    keras_coda.export(keras_coda.models.hybrid(stem, "cut", [CLASSES], [3], [2]), path)
    assert written["outputs"]["contribution_map"] == ["batch", "map_height", "map_width"]
    # Of this model it is not known what it takes.
    layers = keras.layers
    keras_coda.export(keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(4)]), path)
    assert written["value_range"] is None


@pytest.mark.one_backend
def test_images_that_are_permuted_first_keep_their_own_format(written, tmp_path):
    inner = small_coda_net(**TINY, image_shape=(3, 8, 6), data_format="channels_first")
    model = keras.Sequential([keras.Input((6, 8, 3)), keras.layers.Permute((3, 2, 1)), inner])
    keras_coda.export(model, tmp_path / "model.onnx")
    assert (written["data_format"], written["image_size"]) == ("channels_last", [6, 8])


class Wrong(keras.layers.Layer):
    """Its map is not what it computes."""

    def call(self, inputs):
        return 2 * inputs

    def linear_map(self, inputs):
        return inputs, keras_coda.LinearMap(lambda v: v, lambda u: u)


@pytest.mark.one_backend
def test_models_that_cannot_be_explained(written, tmp_path):
    layers, path = keras.layers, tmp_path / "model.onnx"
    inputs = keras.Input((8, 8, 3))
    encoded = [keras_coda.layers.InputEncoding()(inputs) for _ in range(2)]
    outputs = layers.Dense(4)(layers.Flatten()(layers.Add()(encoded)))
    with pytest.raises(ValueError, match=r"one source of contributions.*'twice' with 2"):
        keras_coda.export(keras.Model(inputs, outputs, name="twice"), path)
    rectified = keras.Model(inputs, layers.ReLU()(dense()(inputs)))
    with pytest.raises(keras_coda.NotDynamicLinearError, match="ReLU"):
        keras_coda.export(rectified, path)
    wrong = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(Wrong()(encoded[0]))))
    with pytest.raises(keras_coda.NotDynamicLinearError, match=r"Wrong.*something else than its `linear_map`"):
        keras_coda.export(wrong, path)
    nested = keras.Sequential([keras.Input((5, 6, 3)), small_coda_net(dtype="bfloat16")])
    with pytest.raises(ValueError, match=r"Expected a model in float32.*bfloat16"):
        keras_coda.export(nested, path)
    for other, message in (
        (keras.Model(), "a built Keras model"),
        (keras.Model(inputs, encoded[0]), "classes. logits"),
    ):
        with pytest.raises(ValueError, match=message):
            keras_coda.export(other, path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.one_backend
def test_a_file_is_whole_and_alone(written, tmp_path, monkeypatch):
    path = tmp_path / "new" / "model.onnx"
    keras_coda.export(dense(), path)
    assert path.read_text() == "complete"
    path.write_text("former")

    def fail(path, facts):
        raise KeyboardInterrupt

    monkeypatch.setattr(FORMATS["onnx"].load(), "finish", fail)
    with pytest.raises(KeyboardInterrupt):
        keras_coda.export(dense(), path)
    assert path.read_text() == "former"
    assert [*path.parent.iterdir()] == [path]
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"'onnx' is a file. Received: .*model.onnx', which is a folder"):
        keras_coda.export(dense(), path)


@pytest.mark.skipif(BACKEND == "torch", reason="writes no folders")
def test_folders_that_are_replaced(written, tmp_path, monkeypatch):
    def write(model, path, *_, **__):
        (path / "variables").mkdir(parents=True)
        (path / "saved_model.pb").write_text("new")

    monkeypatch.setattr(FORMATS["tf_saved_model"].load(), "write", write)
    path = tmp_path / "model"
    for _ in range(2):
        keras_coda.export(dense(), path)
        assert (path / "saved_model.pb").read_text() == "new"
    (path / "holiday.jpg").write_text("photo")
    with pytest.raises(
        ValueError, match=r"needs a new folder, or a SavedModel.*model', where there is \['holiday.jpg'\]"
    ):
        keras_coda.export(dense(), path)
    assert (path / "holiday.jpg").read_text() == "photo"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(BACKEND != "jax", reason="other backends write ONNX without it")
@pytest.mark.parametrize(("error", "raised"), [(TypeError("reshape"), ValueError), (ImportError("pip"), ImportError)])
def test_errors_of_jax2onnx(error, raised):
    def export(*args, **kwargs):
        raise error

    signature = [keras.layers.InputSpec(shape=(None, 8, 6, 3), name="images")]
    with pytest.raises(raised, match=r"maps of one class.*Received: image_shape=\(8, 6, 3\).*reshape|pip"):
        backend.export_onnx(types.SimpleNamespace(export=export), "model.onnx", signature)


@needs_onnx
@pytest.mark.one_backend
def test_weights_that_one_file_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS["onnx"].load(), "MOST_BYTES", 6000)
    with pytest.raises(ValueError, match=r"holds at most 6,000 bytes of weights. Received: 6,160 bytes"):
        keras_coda.export(dense(), tmp_path / "model.onnx")


@pytest.mark.one_backend
def test_metadata_of_other_files(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"`path` must end in one of"):
        metadata_of(tmp_path / "model.gguf")
    with pytest.raises(FileNotFoundError, match=r"model.pt2', which does not exist"):
        metadata_of(tmp_path / "model.pt2")
    # A program that reads them needs no TensorFlow.
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "keras_coda.exporting.litert_file", raising=False)
    path = tmp_path / "model.tflite"
    for name, content in (("other.txt", "words"), ("keras_coda.json", "no JSON")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(ValueError, match=r"that `keras_coda.export` wrote. Received: .*model.tflite"):
            metadata_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("keras_coda.json", json.dumps({"classes": NAMES}))
    assert metadata_of(path) == {"classes": NAMES}


@pytest.mark.one_backend
def test_a_package_that_is_not_installed(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    monkeypatch.delitem(sys.modules, "keras_coda.exporting.onnx_file", raising=False)
    with pytest.raises(
        ImportError, match=r"'onnx' needs an extra \(.*onnx_ir.*\): pip install \"keras-coda\[export\]\""
    ):
        keras_coda.export(model, tmp_path / "model.onnx", image_shape=(8, 6, 3))


def test_a_form_for_one_thread():
    seen = []
    with contractions.using("direct"):
        other = threading.Thread(target=lambda: seen.append(keras_coda.contraction()))
        with keras_coda.set_contraction("blocked"):
            other.start()
            other.join()
            assert keras_coda.contraction() == "direct"
        assert keras_coda.contraction() == "direct"
    assert seen == ["blocked"]
    with pytest.raises(ValueError, match="Received: 'fast'"), contractions.using("fast"):
        pass
    before = keras_coda.contraction()
    with keras_coda.set_contraction("direct"):
        assert keras_coda.contraction() == "direct"
    assert keras_coda.contraction() == before


@pytest.mark.one_backend
def test_metadata_of_a_folder_with_a_dot_and_of_the_home_folder(tmp_path, monkeypatch):
    facts = tmp_path / "net-1.0" / "assets.extra" / "keras_coda.json"
    facts.parent.mkdir(parents=True)
    facts.write_text(json.dumps({"classes": NAMES}))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert metadata_of(tmp_path / "net-1.0") == metadata_of("~/net-1.0") == {"classes": NAMES}
