"""Exported files, run by their own runtimes, against the model's own outputs and explanations."""

import importlib.util
import re
import shutil
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
from clients import RUN
from reference import relative_error
from small_models import CLASSES, small_coda_net

import keras_coda
from keras_coda import contractions
from keras_coda.exporting import FORMATS, metadata_of

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


@pytest.mark.parametrize("form", HERE)
def test_outputs_and_facts(model, images, tmp_path, form):
    path = tmp_path / f"model{FORMATS[form].suffix}"
    assert keras_coda.export(model, path, "all", classes=NAMES, image_shape=images.shape[1:]) == path
    check(RUN[form](path, images), model.explain(images, "all"))
    facts = metadata_of(path)
    assert facts["classes"] == NAMES
    assert facts["explained"] == [0, 1, 2, 3]
    assert facts["image_shape"] == [8, 6, 3]
    assert facts["outputs"]["contribution_map"] == ["batch", 4, 8, 6]
    assert facts["value_range"] == [0, 1]
    # Another number of images.
    check(RUN[form](path, images[:1]), model.explain(images[:1], "all"))


# torch.export takes half a minute there; scripts/export_matrix.py tries it.
@pytest.mark.parametrize("form", [p for p in HERE if p.values[0] != "torch"])
def test_any_size(model, images, tmp_path, form):
    path = keras_coda.export(model, tmp_path / f"model{FORMATS[form].suffix}", image_shape=(None, None, 3))
    for some in (images, images[:, 1:, :5]):
        check(RUN[form](path, some), model.explain(some))
    assert metadata_of(path)["outputs"]["contribution_map"] == ["batch", "height", "width"]


@needs_onnx
@pytest.mark.skipif(BACKEND != "torch", reason="other backends keep no size")
def test_one_size_only(tmp_path):
    """Keras' own padding on PyTorch is traced with the size of one image."""
    inputs = keras.Input((None, None, 3))
    x = keras_coda.DAUConv2D(3, 2, 2, strides=3, padding="same")(keras_coda.layers.InputEncoding()(inputs))
    model = keras.Model(inputs, keras_coda.layers.SumPooling2D()(x))
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"ONNX for images of one size: name it.*\(None, None, 3\)"):
        keras_coda.export(model, path)
    assert not path.exists()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A network of which weights are worth fewer bits, and its file."""
    model = small_coda_net(**{**TINY, "filters": [32, CLASSES], "ranks": [8, 8]}, image_shape=(8, 6, 3))
    path = tmp_path_factory.mktemp("wide") / "model.onnx"
    with warnings.catch_warnings():
        if BACKEND == "torch":
            # PyTorch's exporter gives a dozen, which say nothing to a user.
            warnings.simplefilter("error")
        return model, keras_coda.export(model, path, input_dtype="uint8")


@needs_onnx
def test_the_predicted_class_of_integer_images(wide, images):
    model, path = wide
    images = (images * 255).astype("uint8")
    check(RUN["onnx"](path, images), model.explain(images))
    assert metadata_of(path)["value_range"] == [0, 255]


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
    for wrong in ([4], [-1], [], [0.5]):
        with pytest.raises(ValueError, match=rf"`explain` must list classes.*Received: {re.escape(repr(wrong))}"):
            keras_coda.export(model, path, wrong)
    with pytest.raises(ValueError, match=r"`explain` must list classes.*Received: \['bird'\]"):
        keras_coda.export(model, path, ["bird"], classes=NAMES)
    with pytest.raises(ValueError, match=r"`explain` must be .*Received: 'best'"):
        keras_coda.export(model, path, "best")
    with pytest.raises(ValueError, match=r"`image_shape` must be of the form \(None, None, 3\). Received: \(8, 6, 1\)"):
        keras_coda.export(model, path, image_shape=(8, 6, 1))
    with pytest.raises(ValueError, match=r"Expected a model in float32.*bfloat16"):
        keras_coda.export(small_coda_net(dtype="bfloat16"), path)
    assert not path.exists()


@pytest.mark.one_backend
def test_a_package_that_is_not_installed(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    monkeypatch.delitem(sys.modules, "keras_coda.exporting.onnx_file", raising=False)
    with pytest.raises(ImportError, match=r"'onnx' needs onnx onnx-ir onnxruntime.*pip install onnx onnx-ir onnxrun"):
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
