"""Presets: `load` gives what `save` wrote, on every backend, and altered or hostile presets are refused."""

import builtins
import copy
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_coda
from keras_coda import files, linear_maps, presets
from keras_coda.presets import names
from keras_coda.presets.saving import check_target

FILES = {"config.json", "model.weights.h5", "metadata.json"}
FACTS = {"dataset": "Noise", "classes": ["cat", "dög", "eel"]}


@keras.saving.register_keras_serializable(package="test_presets")
def registered_rescaling(norm):
    return 1.0 / (1.0 + norm)


@keras.saving.register_keras_serializable(package="test_presets")
class RegisteredInitializer(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        raise AssertionError("a preset had this called")


def coda_net(**kwargs):
    arguments = {"image_shape": (8, 8, 3), "temperature": 4.0, "data_format": "channels_last", **kwargs}
    return keras_coda.CoDANet([4, 3], [3, 1], [3, 2], [2, 1], **arguments)


def sequential():
    """A user's own chain, with a nested model in it."""
    inner = keras.Sequential([keras.layers.Flatten(), keras_coda.DAUDense(3, 2, a_regularizer="l2")])
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling([0.5, 1.0, 2.0]),
            keras_coda.DAUConv2D(4, 3, 2, strides=2, rescaling="l2", data_format="channels_last"),
            keras.layers.Dropout(0.5),
            inner,
            keras.layers.Dense(3, kernel_constraint=keras.constraints.MaxNorm(2.0)),
        ]
    )


def functional():
    inputs = keras.Input((8, 8, 3))
    outputs = keras_coda.DAUConv2D(4, 3, 2, strides=2, rescaling=registered_rescaling, data_format="channels_last")(
        inputs
    )
    outputs = keras.layers.Dropout(0.5)(outputs, training=False)
    return keras.Model(inputs, keras_coda.DAUDense(3, 2)(keras.layers.Flatten()(outputs)))


MODELS = {"coda_net": coda_net, "sequential": sequential, "functional": functional}


def images(count=4):
    return np.random.default_rng(0).random((count, 8, 8, 3), "float32")


def predict(model):
    return keras.ops.convert_to_numpy(model(images(), training=False))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def content_digest(value):
    """The checksum of JSON content in metadata.json."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A preset of each kind of model, and the models."""
    models = {name: make() for name, make in MODELS.items()}
    root = tmp_path_factory.mktemp("saved")
    return {name: (presets.save(model, root / name, **FACTS), model) for name, model in models.items()}


@pytest.fixture
def folder(saved, tmp_path):
    """A preset that a test may damage, without checksums of the JSON files."""
    return without_checksums(pathlib.Path(shutil.copytree(saved["sequential"][0], tmp_path / "preset")))


def edit(path, change):
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def without_checksums(folder):
    """Turn a preset into one of the oldest form, without checksums, so that edits are read."""
    edit(folder / "metadata.json", lambda facts: [facts.pop(key) for key in ("config_sha256", "metadata_sha256")])
    return folder


# Saving and loading.


@pytest.mark.parametrize("kind", MODELS)
def test_a_loaded_model_is_the_saved_one(saved, kind):
    folder, model = saved[kind]
    assert {path.name for path in folder.iterdir()} == FILES
    loaded = presets.load(folder)
    assert type(loaded) is type(model)
    config = model.get_config()
    if kind == "coda_net":
        config["class_names"] = FACTS["classes"]  # which come from the metadata
    assert json.dumps(loaded.get_config()) == json.dumps(config)
    np.testing.assert_allclose(predict(loaded), predict(model), rtol=1e-6, atol=1e-6)
    assert not loaded.compiled


def test_loading_without_weights_reads_none(folder):
    (folder / "model.weights.h5").unlink()
    model = presets.load(folder, load_weights=False)
    assert model.output_shape == (None, 3)
    with pytest.raises(presets.PresetError, match=r"model\.weights\.h5 is missing"):
        presets.load(folder)


def test_weights_that_are_read_are_not_drawn_before(folder, monkeypatch):
    """On JAX, random values of a new shape take a second to compile."""

    def drawn(self, shape, dtype=None):
        raise AssertionError(f"random values of shape {shape}")

    expected, drawn_again = presets.load(folder).get_weights(), presets.load(folder, load_weights=False)
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", drawn)
    monkeypatch.setattr(keras.initializers.RandomUniform, "__call__", drawn)
    model = presets.load(folder)
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    assert json.dumps(model.get_config()) == json.dumps(drawn_again.get_config())
    with pytest.raises(presets.PresetError, match="random values of shape"):
        presets.load(folder, load_weights=False)


def test_on_a_full_disk_nothing_is_written(tmp_path, monkeypatch):
    presets.save(coda_net(), tmp_path / "mine", **FACTS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # Parts of the weights are written beside the whole file.
    for free in (1000, 2**20 + 6 * coda_net().count_params()):
        usage = shutil._ntuple_diskusage(2**30, 2**30 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        with pytest.raises(presets.PresetError, match=rf"must have 1,\d{{3}},\d{{3}} bytes free .* Received: {free:,}"):
            presets.save(coda_net(), tmp_path / "mine", **FACTS, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_metadata_says_what_was_saved(tmp_path):
    model = coda_net(image_shape=(None, 8, 3))
    results = {"test_accuracy": 0.5, "by_class": {"cat": [1, 2]}}
    presets.save(model, tmp_path / "mine", **FACTS, description="Tiny.", results=results, license="CC0-1.0")
    facts = presets.metadata(tmp_path / "mine")
    weights = (tmp_path / "mine" / "model.weights.h5").read_bytes()
    # Layer by layer d r + d r n + d n, with d = k k c, on 6 encoded channels.
    parameters = (54 * 3 + 54 * 3 * 4 + 54 * 4) + (4 * 2 + 4 * 2 * 3 + 4 * 3)
    assert facts == {
        "format_version": 1,
        "name": "mine",
        "description": "Tiny.",
        "dataset": "Noise",
        "classes": ["cat", "dög", "eel"],
        "image_shape": [None, 8, 3],
        "value_range": [0.0, 1.0],
        "data_format": "channels_last",
        "results": results,
        "parameters": parameters,
        "weights_file": "model.weights.h5",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "license": "CC0-1.0",
        "keras_coda_version": keras_coda.__version__,
        "keras_version": keras.__version__,
        "config_sha256": content_digest(json.loads((tmp_path / "mine" / "config.json").read_text())),
        "metadata_sha256": facts["metadata_sha256"],
    }
    assert content_digest({key: facts[key] for key in facts if key != "metadata_sha256"}) == facts["metadata_sha256"]


def test_training_is_not_saved(tmp_path):
    model = coda_net(penalty=0.1)
    model.compile("adam", keras_coda.OneVsRestCrossentropy(), metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)  # with Adam's moments, twice the size of the weights
    presets.save(model, tmp_path / "trained", **FACTS)
    presets.save(coda_net(penalty=0.1), tmp_path / "untrained", **FACTS)
    sizes = [(tmp_path / name / "model.weights.h5").stat().st_size for name in ("trained", "untrained")]
    assert sizes[0] == sizes[1]
    assert "Adam" not in (tmp_path / "trained" / "config.json").read_text()
    loaded = presets.load(tmp_path / "trained")
    assert not loaded.compiled
    np.testing.assert_allclose(predict(loaded), predict(model), rtol=1e-6, atol=1e-6)


def test_a_preset_loads_in_mixed_precision(saved):
    folder, model = saved["coda_net"]
    loaded = presets.load(folder, dtype="mixed_bfloat16")
    layer = loaded.get_layer("dau_1")
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    for weight, original in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, original)
    logits = predict(loaded)
    assert str(logits.dtype) == "float32"
    np.testing.assert_allclose(logits, predict(model), rtol=0.05, atol=0.05)
    sequential = presets.load(saved["sequential"][0], dtype="mixed_bfloat16")
    operations = [step.operation for step in linear_maps.Graph.of(sequential).steps]
    # Keras casts what its inner model takes to float32.
    (cast,) = [operation for operation in operations if not isinstance(operation, keras.Layer)]
    assert (type(cast).__name__, cast.dtype) == ("Cast", "float32")
    assert {operation.compute_dtype for operation in operations if operation is not cast} == {"bfloat16"}


CROSS_BACKEND = textwrap.dedent(
    """
    import sys, keras, numpy as np, keras_coda
    from keras_coda import presets
    root = sys.argv[1]
    images = np.load(root + "/images.npy")
    logits = {}
    for kind in ("coda_net", "sequential"):
        logits[kind] = presets.load(f"{root}/{kind}")(images)
        logits[kind + "_keras"] = keras.saving.load_model(f"{root}/{kind}.keras")(images)
    logits = {name: keras.ops.convert_to_numpy(keras.ops.stop_gradient(value)) for name, value in logits.items()}
    np.savez(f"{root}/{keras.backend.backend()}.npz", **logits)
    """
)


# Each backend reads what another one wrote.
NEXT = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}


def test_models_move_between_backends(saved, tmp_path):
    backend = NEXT[keras.backend.backend()]
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    np.save(tmp_path / "images.npy", images())
    for kind in ("coda_net", "sequential"):
        folder, model = saved[kind]
        shutil.copytree(folder, tmp_path / kind)
        model.save(tmp_path / f"{kind}.keras")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CROSS_BACKEND, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    logits = np.load(tmp_path / f"{backend}.npz")
    for kind in ("coda_net", "sequential"):
        expected = predict(saved[kind][1])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(logits[kind], expected, rtol=1e-4, atol=1e-4 * scale)
        np.testing.assert_allclose(logits[kind + "_keras"], expected, rtol=1e-4, atol=1e-4 * scale)


# Names and paths.


UNRELEASED = {
    "m_coda_cifar10": ("m", 10, (32, 32, 3)),
    "l_coda_imagenet100": ("l", 100, (240, 240, 3)),
    "xl_coda_tinyimagenet": ("xl", 200, (64, 64, 3)),
}


def test_names_without_weights_are_listed_unreleased():
    known = {preset.name: preset for preset in presets.list_presets()}
    for name, (_, classes, image_shape) in UNRELEASED.items():
        assert (known[name].classes, known[name].image_shape, known[name].released) == (classes, image_shape, False)
        of_the_paper = name[0] == "l"
        assert ("not in the paper's text" in known[name].description.lower()) != of_the_paper


@pytest.mark.parametrize("name", UNRELEASED)
def test_unreleased_weights_are_an_error_that_says_what_there_is(name, monkeypatch):
    with pytest.raises(presets.PresetError, match=rf"'{name}' are not released.*load_weights=False"):
        presets.load(name)
    with pytest.raises(presets.PresetError, match="not released"):
        presets.metadata(name)
    # The large ones take seconds to build, so only the call is checked.
    monkeypatch.setattr(keras_coda.CoDANet, "from_size", lambda *arguments, dtype: arguments if dtype else None)
    assert presets.load(name, load_weights=False, dtype="bfloat16") == UNRELEASED[name][:2]


def test_an_untrained_architecture_has_a_name():
    model = presets.load("m_coda_cifar10", load_weights=False)
    assert isinstance(model, keras_coda.CoDANet)
    assert model.count_params() == 27_517_536
    assert model.get_config() == keras_coda.CoDANet.from_size("m").get_config()


def test_bundled_presets_are_listed_and_loaded_by_name(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "BUNDLED", tmp_path)
    shutil.copytree(saved["coda_net"][0], tmp_path / "tiny")
    shutil.copytree(saved["coda_net"][0], tmp_path / "s_coda_cifar10")
    shutil.copytree(saved["coda_net"][0], tmp_path / ".tiny.half-written")
    (tmp_path / "README.md").touch()
    listed = {preset.name: preset for preset in presets.list_presets()}
    assert listed["tiny"] == ("tiny", "Noise", 3, (8, 8, 3), "", True)
    assert listed["s_coda_cifar10"].released
    assert not listed["m_coda_cifar10"].released
    assert len(listed) == len(presets.list_presets()) == 5
    np.testing.assert_allclose(predict(presets.load("tiny")), predict(saved["coda_net"][1]), rtol=1e-6, atol=1e-6)
    assert presets.load("s_coda_cifar10", load_weights=False).filters == [4, 3]
    assert presets.metadata("tiny")["classes"] == FACTS["classes"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s_coda_cifar", r"Unknown preset 's_coda_cifar'.*'s_coda_cifar10'.*path"),
        ("hf://repo", r'Expected "hf://user/repo".*Received: .hf://repo.'),
        ("nowhere/preset", r"'nowhere/preset', which does not exist"),
        ("./s_coda_cifar10", r"which does not exist"),
        (pathlib.Path("s_coda_cifar10"), r"'s_coda_cifar10', which does not exist"),
        ("", "name or the path of a folder. Received: ''"),
        (3, "name or the path of a folder. Received: 3"),
    ],
)
@pytest.mark.parametrize("load_weights", [True, False])
def test_what_is_no_preset(name, message, load_weights):
    with pytest.raises(presets.PresetError, match=message):
        presets.load(name, load_weights=load_weights)
    assert issubclass(presets.PresetError, ValueError)


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(presets.PresetError, match=f"{folder}.*{file} is missing"):
        presets.load(folder)


def test_a_path_may_be_a_string_a_path_or_relative(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for path in (str(folder), folder, "preset", "./preset"):
        assert presets.metadata(path)["name"] == "sequential"
    with pytest.raises(presets.PresetError, match=r"config\.json', a file"):
        presets.load(folder / "config.json")


# Altered files.


@settings(deadline=None, max_examples=10, derandomize=True)
@given(position=st.integers(0, 10**6), flip=st.integers(1, 255), truncate=st.booleans())
def test_altered_or_truncated_weights_are_refused(saved, tmp_path_factory, position, flip, truncate):
    folder = pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path_factory.mktemp("altered") / "preset"))
    weights = folder / "model.weights.h5"
    content = bytearray(weights.read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    position %= len(content)
    if truncate:
        content = content[:position]
    else:
        content[position] ^= flip
    weights.write_bytes(content)
    with pytest.raises(presets.PresetError) as error:
        presets.load(folder)
    for part in (str(weights), expected, hashlib.sha256(content).hexdigest()):
        assert part in str(error.value)


def test_the_weights_of_another_preset_are_refused(saved, tmp_path):
    other = presets.save(coda_net(), tmp_path / "other", **FACTS)
    shutil.copy(saved["coda_net"][0] / "model.weights.h5", other)
    with pytest.raises(presets.PresetError, match="not the file that the preset was saved with"):
        presets.load(other)


@pytest.mark.one_backend
def test_a_preset_that_is_replaced_while_it_is_loaded_is_refused(saved, tmp_path, monkeypatch):
    """The network would have the class names of one preset, and the weights of the other."""
    folder = presets.save(coda_net(), tmp_path / "preset", **FACTS)
    other = shutil.copytree(saved["coda_net"][0], tmp_path / "other")
    deserialize = presets.architecture.deserialize

    def meanwhile(*arguments):
        files.move_folder(other, folder)
        return deserialize(*arguments)

    monkeypatch.setattr(presets.architecture, "deserialize", meanwhile)
    with pytest.raises(presets.PresetError, match="was replaced while it was loaded"):
        presets.load(folder)
    monkeypatch.undo()
    presets.load(folder)


def fewer_filters(config):
    config["config"]["filters"] = [5, 3]


def other_kernels(config):  # with the same number of parameters
    config["config"]["kernel_sizes"] = [[1, 9], [1, 1]]


def more_classes(config):
    config["config"]["filters"] = [4, 4]


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("change", [fewer_filters, other_kernels, more_classes])
def test_a_config_that_does_not_fit_the_weights_is_refused(saved, tmp_path, change):
    folder = without_checksums(pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "preset")))
    edit(folder / "config.json", change)
    with pytest.raises(presets.PresetError, match=str(folder / "config.json")):
        presets.load(folder)


def test_weights_that_are_not_hdf5_are_refused(folder):
    (folder / "model.weights.h5").write_bytes(b"no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()
    edit(folder / "metadata.json", lambda facts: facts.update(weights_sha256=digest))
    with pytest.raises(presets.PresetError, match=f"{folder / 'model.weights.h5'} does not fit"):
        presets.load(folder)


@pytest.mark.parametrize("file", ["config.json", "metadata.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[]", b"3", b"null", b"{}", b"[" * 100_000])
def test_json_of_another_form_is_refused(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(presets.PresetError, match=str(folder / file)):
        presets.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 2, "format version 2. Expected: 1"),
        ("classes", {"0": "cat"}, "'classes' in .* must be of type list. Received: {'0': 'cat'}"),
        ("classes", [0, 1, 2], r"'classes' in .* must be strings. Received: \[0, 1, 2\]"),
        ("classes", ["cat", "dog"], "3 classes. Expected from metadata.json beside it: .* and 2"),
        ("weights_sha256", None, "'weights_sha256' in .* must be of type str. Received: None"),
        ("weights_file", "../../other.weights.h5", "'weights_file' .* Received: '../../other.weights.h5'"),
        ("license", 3, r"'license' in .* must be of type str \| None. Received: 3"),
        ("format_version", True, "'format_version' in .* must be of type int. Received: True"),
        ("image_shape", ["8", 8, 3], r"'image_shape' in .* Received: \['8', 8, 3\]"),
        ("image_shape", [9, 8, 3], r"images \(8, 8, 3\), channels_last\. Expected from .*: \(9, 8, 3\), channels_last"),
        ("image_shape", [8, 8], r"images \(8, 8, 3\), channels_last\. Expected from .*: \(8, 8\), channels_last"),
        ("data_format", "channels_first", r"channels_last\. Expected from metadata.json beside it: .* channels_first"),
        ("data_format", None, r"channels_last\. Expected from metadata.json beside it: .* None"),
        ("value_range", [0.0, 255.0], r"'value_range' in .* must be \[0.0, 1.0\]\. Received: \[0.0, 255.0\]"),
        ("value_range", [], r"'value_range' in .* must be \[0.0, 1.0\]\. Received: \[\]"),
        ("pickle", "os.system", r"unknown entries.*Received: \['pickle'\]"),
    ],
)
def test_metadata_of_another_form_is_refused(folder, key, value, message):
    edit(folder / "metadata.json", lambda facts: facts.update({key: value}))
    with pytest.raises(presets.PresetError, match=message):
        presets.load(folder)


def test_the_size_of_images_may_be_left_open_in_the_model_alone(saved, tmp_path):
    folder = presets.save(coda_net(image_shape=(None, 8, 3)), tmp_path / "preset", **FACTS, image_shape=(6, 8, 3))
    assert presets.load(folder).input_shape == (None, None, 8, 3)
    edit(without_checksums(folder) / "metadata.json", lambda facts: facts.update(image_shape=[6, 6, 3]))
    with pytest.raises(presets.PresetError, match=r"images \(None, 8, 3\).*Expected from .*: \(6, 6, 3\)"):
        presets.load(folder)


def test_every_key_of_the_metadata_is_needed(folder):
    original = (folder / "metadata.json").read_text()
    for key in json.loads(original):
        (folder / "metadata.json").write_text(original)
        edit(folder / "metadata.json", lambda facts, key=key: facts.pop(key))
        with pytest.raises(presets.PresetError, match=f"has no '{key}'"):
            presets.metadata(folder)


@pytest.mark.parametrize("file", ["config.json", "metadata.json"])
@settings(deadline=None, max_examples=40, derandomize=True)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_the_texts_changes_what_is_loaded(saved, tmp_path_factory, file, position, bit):
    """A stride of 3 instead of 2, or two exchanged class names, would otherwise stay unnoticed."""
    original = saved["coda_net"][0]
    folder = pathlib.Path(shutil.copytree(original, tmp_path_factory.mktemp("altered") / "preset"))
    content = bytearray((folder / file).read_bytes())
    content[position % len(content)] ^= 1 << bit
    (folder / file).write_bytes(content)
    try:
        model, facts = presets.load(folder, load_weights=False), presets.metadata(folder)
    except presets.PresetError as error:
        message = str(error)
    else:  # one space for another
        assert model.get_config() == saved["coda_net"][1].get_config()
        assert facts == presets.metadata(original)
        return
    assert str(folder / file) in message


@pytest.mark.parametrize("key", ["config_sha256", "metadata_sha256"])
@pytest.mark.parametrize(
    "change", [lambda facts, key: facts.pop(key), lambda facts, key: facts.update({key: "0" * 64})]
)
def test_checksums_come_together_or_not_at_all(saved, tmp_path, key, change):
    folder = pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "preset"))
    edit(folder / "metadata.json", lambda facts: change(facts, key))
    with pytest.raises(presets.PresetError, match=f"has no '{key}'|is not as it was written"):
        presets.load(folder)
    without = without_checksums(pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "earlier")))
    np.testing.assert_array_equal(predict(presets.load(without)), predict(presets.load(saved["coda_net"][0])))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_numbers_that_are_not_finite_are_refused(saved, tmp_path, number):
    folder = without_checksums(pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "preset")))
    for file, key in (("config.json", '"temperature": 4.0'), ("metadata.json", '"results": {}')):
        text = (folder / file).read_text()
        if file == "metadata.json":
            text = json.dumps(json.loads(text))
        assert key in text
        name = key.partition(":")[0]
        value = number if file == "config.json" else f'{{"test_accuracy": {number}}}'
        (folder / file).write_text(text.replace(key, f"{name}: {value}"))
        with pytest.raises(presets.PresetError, match=rf"{file} is not valid JSON: numbers must be finite"):
            presets.load(folder)
        (folder / file).write_text(text)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_loaded(folder, value):
    h5py = pytest.importorskip("h5py")
    path = folder / "model.weights.h5"
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file[names[0]][0] = value
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(folder / "metadata.json", lambda facts: facts.update(weights_sha256=digest))
    with pytest.raises(presets.PresetError, match=f"of {folder} has NaN or infinite values"):
        presets.load(folder)


def as_large(facts):
    facts["parameters"] = 54 * 10**6 + 54 * 10**6 * 4 + 54 * 4 + (4 * 2 + 4 * 2 * 3 + 4 * 3)


@pytest.mark.parametrize("load_weights", [True, False])
@pytest.mark.parametrize("change", [None, as_large])
def test_a_small_file_gets_no_large_network(saved, tmp_path, monkeypatch, change, load_weights):
    """A rank of a million gives 270 million parameters, in the metadata or not. None of them may be initialized."""
    folder = without_checksums(pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "preset")))
    edit(folder / "config.json", lambda config: config["config"].update(ranks=[10**6, 2]))
    if change is not None:
        edit(folder / "metadata.json", change)
    for cls in (keras.initializers.RandomUniform, keras.initializers.VarianceScaling):
        monkeypatch.setattr(cls, "__call__", lambda self, shape, dtype=None: pytest.fail(f"drew {shape}"))
    with pytest.raises(presets.PresetError, match="parameters"):
        presets.load(folder, load_weights=load_weights)
    monkeypatch.undo()
    # Nor later, when another network is made.
    assert sum(array.size for array in coda_net().get_weights()) == saved["coda_net"][1].count_params()


def test_after_a_preset_whose_initializer_fails_others_load(folder, saved):
    config = json.loads((folder / "config.json").read_text())
    failing = instance("keras.initializers", "RandomUniform", minval="a", maxval="b")
    (folder / "config.json").write_text(json.dumps(put(config, INITIALIZER, failing)))
    with pytest.raises(presets.PresetError):
        presets.load(folder, load_weights=False)
    original, model = saved["sequential"]
    np.testing.assert_array_equal(presets.load(original).get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("count", [10**3 + 1, 10**5])
def test_a_small_file_gets_no_long_network(saved, tmp_path, count):
    folder = without_checksums(pathlib.Path(shutil.copytree(saved["coda_net"][0], tmp_path / "preset")))
    lists = {key: [1] * count for key in ("filters", "kernel_sizes", "ranks", "strides")}
    edit(folder / "config.json", lambda config: config["config"].update(lists))
    with pytest.raises(presets.PresetError, match=r"config\.json is too large"):
        presets.load(folder)
    (folder / "config.json").write_bytes(b" " * 2**23)
    with pytest.raises(presets.PresetError, match=r"config\.json must have at most 4,194,304 bytes"):
        presets.load(folder)


@pytest.mark.one_backend
def test_a_small_file_gets_no_more_values_than_can_be_built(folder, monkeypatch):
    monkeypatch.setattr(presets.architecture, "MOST_VALUES", 10)
    with pytest.raises(presets.PresetError, match=r"config\.json is too large.* 10 values"):
        presets.load(folder)


@pytest.mark.one_backend
def test_classes_may_be_more_than_the_entries_of_other_lists(tmp_path):
    names = [f"class {number}" for number in range(1001)]
    shape = {"image_shape": (2, 2, 3), "data_format": "channels_last"}
    model = keras_coda.CoDANet([1001], [1], [1], [1], class_names=names, **shape)
    folder = presets.save(model, tmp_path / "many", dataset="noise")
    assert presets.load(folder).class_names == names
    text = without_checksums(folder) / "config.json"
    edit(text, lambda config: config["config"].update(class_names=[[]] * 1001))
    with pytest.raises(presets.PresetError, match=r"config\.json is too large"):
        presets.load(folder)


def spoil(file):
    """Paths that are no regular file, or that cannot be read."""
    yield "directory", lambda: file.mkdir()
    yield "pipe", lambda: os.mkfifo(file)
    yield "device", lambda: file.symlink_to("/dev/zero")
    yield "loop", lambda: file.symlink_to(file)


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_is_no_regular_file_is_refused(folder, name):
    for _, make in spoil(folder / name):
        (folder / name).unlink() if not (folder / name).is_dir() else (folder / name).rmdir()
        make()
        with pytest.raises(presets.PresetError, match=name):
            presets.load(folder)
    with pytest.raises(presets.PresetError, match="Expected the folder of a preset"):
        presets.load("/" + "a" * 1000)


def test_weights_of_other_files_or_larger_than_theirs_are_refused(folder, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = folder / "model.weights.h5"
    original = path.read_bytes()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10**5))
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name, shape = names[0], file[names[0]].shape

    def external(file):
        file.create_dataset(name, shape, "float32", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    def linked(file):
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["x"] = np.ones(shape, "float32")
        file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")

    def large(file):
        file.create_dataset(name, (2**34,), "float32", chunks=(2**20,))

    def texts(file):
        file[name] = np.full(shape, b"1.0")

    def virtual(file):
        layout = h5py.VirtualLayout(shape, "float32")
        layout[...] = h5py.VirtualSource(tmp_path / "other.h5", "x", shape)
        file.create_virtual_dataset(name, layout)

    for change in (external, linked, large, texts, virtual):
        path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            del file[name]
            change(file)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        edit(folder / "metadata.json", lambda facts, digest=digest: facts.update(weights_sha256=digest))
        with pytest.raises(presets.PresetError, match=r"model\.weights\.h5 does not fit"):
            presets.load(folder)


# Hostile architectures.


def places(value, path=()):
    """The paths to all values in JSON data."""
    yield path
    if isinstance(value, (dict, builtins.list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def put(config, path, value):
    if not path:
        return value
    config = copy.deepcopy(config)
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return config


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def instance(module, name, **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


INNER_DAU = ("config", "layers", 4, "config", "layers", 2, "config")
LAYER = ("config", "layers", 3)
INITIALIZER = (*INNER_DAU, "a_initializer")
LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}

HOSTILE = {
    "os.system": function("os", "system"),
    "posix.system": instance("posix", "system", command="true"),
    "builtins.eval": function("builtins", "eval"),
    "keras.utils.get_file": function("keras.utils", "get_file"),
    "keras.saving.load_model": instance("keras.saving", "load_model", filepath="x.keras"),
    "keras.layers.Lambda": instance("keras.layers", "Lambda", function=LAMBDA),
    "keras.layers.TorchModuleWrapper": instance("keras.layers", "TorchModuleWrapper"),
    "keras.layers.ReLU": instance("keras.layers", "ReLU"),
    "keras.optimizers.Adam": instance("keras.optimizers", "Adam"),
    "keras.ops.add": function("keras.ops", "add"),
    "__lambda__": LAMBDA,
    "__numpy__": {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
    "__tensor__": {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}},
    "__bytes__": {"class_name": "__bytes__", "config": {"value": "a"}},
    "__typespec__": {"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": []},
    # Keras loads these from any package of its family.
    "keras_cv.hostile.Payload": instance("keras_cv.hostile", "Payload"),
    "hostile_module.Payload": instance("hostile_module", "Payload"),
    # Classes that are registered in this process, but not allowed in presets.
    "x.RegisteredInitializer": {
        **instance("x", "RegisteredInitializer"),
        "registered_name": "test_presets>RegisteredInitializer",
    },
    "test_presets>RegisteredInitializer": "test_presets>RegisteredInitializer",
    "keras_coda.Explainer": {**instance("keras_coda", "Explainer"), "registered_name": "keras_coda>Explainer"},
    # Under the name of a harmless class.
    "keras.layers.Dense": {
        **instance("keras.layers", "Dense", units=3),
        "registered_name": "test_presets>RegisteredInitializer",
    },
    "keras.utils.clear_session": {**function("keras.utils", "clear_session"), "registered_name": "keras_coda>DAUDense"},
    "keras.layers.Flatten": function("keras.layers", "Flatten"),
    "None.__lambda__": {**instance(None, "__lambda__"), "registered_name": "keras_coda>DAUDense"},
    # Older forms, for which Keras has other rules.
    "None.Dense": {"class_name": "Dense", "config": {"units": 3}},
    "test_presets>registered_rescaling": function("builtins", "test_presets>registered_rescaling"),
}


@pytest.fixture
def traps(tmp_path, monkeypatch):
    """Modules on the path that leave a file behind when they are imported."""
    tripped = tmp_path / "tripped"
    code = f"import pathlib\npathlib.Path({str(tripped)!r}).touch()\nclass Payload: pass\n"
    (tmp_path / "modules" / "keras_cv").mkdir(parents=True)
    for module in ("hostile_module.py", "keras_cv/__init__.py", "keras_cv/hostile.py"):
        (tmp_path / "modules" / module).write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return tripped


@pytest.mark.parametrize("place", [INITIALIZER, LAYER, (*LAYER, "config", "dtype"), (*LAYER, "config", "noise_shape")])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_no_preset_may_hold_is_refused_and_not_imported(folder, traps, hostile, place):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(put(config, place, HOSTILE[hostile])))
    modules = set(sys.modules)
    with pytest.raises(presets.PresetError) as error:
        presets.load(folder)
    assert f"{folder / 'config.json'} holds" in str(error.value)
    assert hostile in str(error.value)
    assert not traps.exists()
    assert not {"keras_cv", "keras_cv.hostile", "hostile_module"} & (set(sys.modules) - modules)


@pytest.mark.parametrize("kind", ["coda_net", "functional"])
def test_a_rescaling_may_be_a_registered_function_alone(saved, tmp_path, kind):
    folder = without_checksums(pathlib.Path(shutil.copytree(saved[kind][0], tmp_path / "preset")))
    original = json.loads((folder / "config.json").read_text())
    place = next(path for path in places(original) if path and path[-1] == "rescaling")

    def load(rescaling):
        (folder / "config.json").write_text(json.dumps(put(original, place, rescaling)))
        return presets.load(folder)

    assert load(function("builtins", "test_presets>registered_rescaling")).count_params()
    for refused in (
        function("os", "system"),
        function("builtins", "test_presets>not_registered"),
        function("builtins", "test_presets>RegisteredInitializer"),
        LAMBDA,
    ):
        with pytest.raises(presets.PresetError, match=r"config\.json holds"):
            load(refused)


@pytest.mark.filterwarnings("ignore:Model 'empty' had a build config")
def test_activations_and_training_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    for place, value, message in [
        (("config", "layers", 5, "config", "activation"), "relu", "holds the activation 'relu' at config.layers"),
        (("compile_config",), {"optimizer": "adam"}, "holds keras.Sequential"),
        ((), config["config"]["layers"][5], "does not describe a model"),
        ((), put(config, ("config",), {"name": "empty", "layers": []}), "Keras has no graph of model 'empty'"),
    ]:
        (folder / "config.json").write_text(json.dumps(put(config, place, value)))
        with pytest.raises(presets.PresetError, match=message):
            presets.load(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(-2, 2) | st.sampled_from(["", "float32", "dropout"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["config", "module"]), inner),
    max_leaves=3,
)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(data=st.data())
def test_any_other_value_anywhere_gives_a_preset_error_or_a_model(saved, tmp_path_factory, data):
    kind = data.draw(st.sampled_from(sorted(MODELS)))
    folder = without_checksums(
        pathlib.Path(shutil.copytree(saved[kind][0], tmp_path_factory.mktemp("fuzzed") / "preset"))
    )
    file = folder / data.draw(st.sampled_from(["config.json", "metadata.json"]))
    content = json.loads(file.read_text())
    path = data.draw(st.sampled_from(sorted(places(content), key=str)))
    file.write_text(json.dumps(put(content, path, data.draw(json_values))))
    try:
        model = presets.load(folder)
    except presets.PresetError as error:
        message = str(error)
    else:
        assert model.output_shape == (None, 3)
        return
    assert str(folder) in message


# Models that could not be loaded are not saved, and a failed save leaves nothing behind.


def with_layer(layer):
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), layer, keras_coda.DAUDense(3, 2)])


def plain_rescaling(norm):
    return norm


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs[:, 0, 0]


def branches():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(flat), keras.layers.Dense(3)(flat)])


def built(model):
    model(images())
    return model


UNFIT = {
    "relu": (lambda: with_layer(keras.layers.ReLU()), "keras.layers.ReLU"),
    "activation": (lambda: with_layer(keras.layers.Dense(4, activation="relu")), "the activation 'relu'"),
    "lambda": (lambda: with_layer(keras.layers.Lambda(lambda x: x)), "keras.layers.Lambda"),
    "lambda rescaling": (lambda: with_layer(keras_coda.DAUDense(4, 2, rescaling=lambda n: n)), "__lambda__"),
    "function": (lambda: with_layer(keras_coda.DAUDense(4, 2, rescaling=plain_rescaling)), "plain_rescaling"),
    "array": (lambda: with_layer(keras.layers.Rescaling(np.ones(192, "float32"))), "__numpy__"),
    "layer norm": (lambda: with_layer(keras.layers.LayerNormalization()), "keras.layers.LayerNormalization"),
    "subclassed": (lambda: built(Subclassed()), "Subclassed"),
    "branches": (branches, "1 inputs and 2 outputs"),
    "not built": (lambda: keras.Sequential([keras_coda.DAUDense(3, 2)]), "built Keras model"),
    "a layer": (lambda: keras_coda.DAUDense(3, 2), "built Keras model. Received: <DAUDense"),
    "no classes": (lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]), "192 names"),
    "images": (lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Identity()]), r"\(N, classes\)"),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("reason", UNFIT)
def test_a_model_that_would_not_load_is_not_saved(tmp_path, reason):
    make, message = UNFIT[reason]
    with pytest.raises(presets.PresetError, match=message):
        presets.save(make(), tmp_path / "deep" / "preset", **FACTS)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    model = coda_net()
    weights = model.get_weights()
    weights[1].flat[3] = value
    model.set_weights(weights)
    with pytest.raises(presets.PresetError, match=r"'dau_1/b_kernel' has NaN or infinite values"):
        presets.save(model, tmp_path / "preset", **FACTS)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"results": {"accuracy": np.float32(0.5)}}, "must be JSON data.*float32"),
        ({"results": {"accuracy": float("nan")}}, "must be JSON data.*nan"),
        ({"results": [0.5]}, r"'results' in the metadata must be of type dict. Received: \[0.5\]"),
        ({"dataset": None}, "'dataset' in the metadata must be of type str. Received: None"),
        ({"classes": ["cat", "dog"]}, r"3 names.*Received: \['cat', 'dog'\]"),
        ({"classes": "cat"}, "3 names.*Received: 'cat'"),
        ({"classes": [0, 1, 2]}, r"must be strings. Received: \[0, 1, 2\]"),
        ({"license": 2}, "'license'"),
    ],
)
def test_facts_of_another_form_are_not_saved(saved, tmp_path, facts, message):
    with pytest.raises(presets.PresetError, match=message):
        presets.save(saved["coda_net"][1], tmp_path / "deep" / "preset", **{**FACTS, **facts})
    assert not any(tmp_path.iterdir())


def test_an_existing_folder_is_kept_unless_overwrite(saved, tmp_path):
    model = saved["sequential"][1]
    target = presets.save(coda_net(), tmp_path / "preset", **FACTS)
    before = digests(target)
    with pytest.raises(presets.PresetError, match=f"{target} exists.*overwrite=False"):
        presets.save(model, target, **FACTS)
    assert digests(target) == before
    assert presets.save(model, target, **FACTS, overwrite=True) == target
    np.testing.assert_allclose(predict(presets.load(target)), predict(model), rtol=1e-6, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.one_backend
def test_what_a_killed_process_left_in_a_preset_is_replaced_with_it(saved, tmp_path):
    target = presets.save(saved["coda_net"][1], tmp_path / "preset", **FACTS)
    (target / ".metadata.json.0a0a.partial").write_text("half")
    with pytest.raises(presets.PresetError, match=r"exists.*overwrite=False"):
        presets.save(saved["coda_net"][1], target, **FACTS)
    presets.save(saved["coda_net"][1], target, **FACTS, overwrite=True)
    assert {path.name for path in target.iterdir()} == FILES
    (target / ".notes.txt.0a0a.partial").write_text("of somebody else")
    with pytest.raises(presets.PresetError, match=r"exists.*notes"):
        presets.save(saved["coda_net"][1], target, **FACTS, overwrite=True)


@pytest.mark.one_backend
def test_an_address_of_the_hub_is_no_folder(saved, tmp_path, monkeypatch):
    """A folder "hf:" would be written, and nothing uploaded."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(presets.PresetError, match=r"`publish` uploads\. Received: 'hf://user/repo'"):
        presets.save(saved["coda_net"][1], "hf://user/repo", **FACTS)
    # As the command line reads it.
    with pytest.raises(presets.PresetError, match=r"`publish` uploads\. Received: 'hf:/user/repo'"):
        presets.save(saved["coda_net"][1], pathlib.Path("hf://user/repo"), **FACTS)
    assert not [*tmp_path.iterdir()]


@pytest.mark.one_backend
def test_a_tilde_is_the_home_folder(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    check_target("~/preset", overwrite=False)
    target = presets.save(saved["coda_net"][1], "~/preset", **FACTS)
    assert target == tmp_path / "home" / "preset"
    assert presets.metadata("~/preset") == presets.metadata(target)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    with pytest.raises(presets.PresetError, match=r"exists.*overwrite=False"):
        check_target("~/preset", overwrite=False)


@pytest.mark.one_backend
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_appears_while_a_preset_is_written_is_kept(saved, tmp_path, monkeypatch, overwrite):
    target = tmp_path / "preset"

    def meanwhile(*arguments):
        target.mkdir()
        (target / "thesis.tex").write_text("three years of work")

    monkeypatch.setattr("keras_coda.presets.saving._check_space", meanwhile)
    with pytest.raises(presets.PresetError, match=r"exists.*thesis"):
        presets.save(saved["coda_net"][1], target, **FACTS, overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["preset", "thesis.tex"]


@pytest.mark.one_backend
def test_of_two_that_save_at_one_place_the_second_is_refused(saved, tmp_path, monkeypatch):
    """Though neither saw the other's folder when it looked for one."""
    target, moved = tmp_path / "preset", []

    def move(complete, folder, overwrite):
        shutil.copytree(complete, folder)
        moved.append(digests(folder))
        return files.move_folder(complete, folder, overwrite)

    monkeypatch.setattr("keras_coda.presets.saving.move_folder", move)
    with pytest.raises(presets.PresetError, match=r"exists.*overwrite=False"):
        presets.save(saved["coda_net"][1], target, **FACTS)
    assert [digests(target)] == moved
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


@pytest.mark.one_backend
def test_results_by_class_are_saved_as_json_has_them(saved, tmp_path):
    """JSON's names are strings, in another order than integers."""
    by_class = {number: number / 16 for number in range(12)}
    target = presets.save(saved["coda_net"][1], tmp_path / "preset", **FACTS, results={"by_class": by_class})
    want = {str(number): value for number, value in by_class.items()}
    assert presets.metadata(target)["results"] == {"by_class": want}
    presets.add_results(target, {"twice": by_class})
    assert presets.metadata(target)["results"] == {"by_class": want, "twice": want}


@pytest.mark.one_backend
def test_an_image_shape_of_numpys_integers_is_saved(saved, tmp_path):
    model = saved["coda_net"][1]
    facts = {**FACTS, "image_shape": np.array(model.input_shape[1:])}
    target = presets.save(model, tmp_path / "preset", **facts)
    assert presets.metadata(target)["image_shape"] == [*model.input_shape[1:]]


def test_overwrite_replaces_nothing_but_presets(saved, tmp_path):
    (tmp_path / "thesis.tex").write_text("three years of work")
    for target, found in ((tmp_path, "'thesis.tex'"), (tmp_path / "thesis.tex", "a file")):
        with pytest.raises(presets.PresetError, match=f"exists.*{found}"):
            presets.save(saved["coda_net"][1], target, **FACTS, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "three years of work"


def test_a_write_that_fails_leaves_the_folder_as_it_was(saved, tmp_path):
    """The disk accepts no file above 100 kB: config.json fits, and the weights do not."""
    resource = pytest.importorskip("resource")
    target = presets.save(saved["coda_net"][1], tmp_path / "preset", **FACTS)
    before = digests(target)
    large = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras_coda.DAUDense(3, 200)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for folder in (target, tmp_path / "new"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                presets.save(large, folder, **FACTS, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    assert digests(target) == before
    presets.save(large, tmp_path / "new", **FACTS)


def test_a_move_that_fails_puts_the_former_preset_back(saved, tmp_path, monkeypatch):
    target = presets.save(saved["coda_net"][1], tmp_path / "preset", **FACTS)
    before = digests(target)
    rename, failures = pathlib.Path.rename, []

    def fail_the_first_time(path, destination):
        if destination == target and not failures:
            failures.append(path)
            raise OSError("no rename today")
        return rename(path, destination)

    monkeypatch.setattr(pathlib.Path, "rename", fail_the_first_time)
    with pytest.raises(OSError, match="no rename today"):
        presets.save(saved["sequential"][1], target, **FACTS, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    assert digests(target) == before


def test_a_model_in_bfloat16(tmp_path):
    """HDF5 has no such numbers: float32 holds them."""
    model = coda_net(dtype="bfloat16")
    presets.save(model, tmp_path / "low", dataset="digits", classes=["a", "b", "c"])
    loaded = presets.load(tmp_path / "low")
    assert {weight.dtype for weight in loaded.weights} == {"bfloat16"}
    for got, want in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got.astype("float32"), want.astype("float32"))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (8, 6, 3)])
def test_an_image_shape_that_the_model_does_not_take(tmp_path, shape):
    with pytest.raises(presets.PresetError, match="`image_shape` must be a shape that the model takes"):
        presets.save(coda_net(), tmp_path / "new", dataset="digits", classes=["a", "b", "c"], image_shape=shape)
    assert not any(tmp_path.iterdir())
