"""Weights in float16 and in parts: they load as saved, and damaged or missing files are refused by name."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
from loopback_hub import TOKEN
from small_models import CLASSES, small_coda_net

from keras_coda import presets
from keras_coda.presets import names, weights

pytestmark = pytest.mark.one_backend

FACTS = {"dataset": "Noise", "classes": [f"class {index}" for index in range(CLASSES)]}
PART = 5000


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A preset in float16 and in parts, and its model."""
    model = small_coda_net()
    options = {"weights_dtype": "float16", "part_bytes": PART}
    return presets.save(model, tmp_path_factory.mktemp("parts") / "tiny", **FACTS, **options), model


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may damage."""
    return pathlib.Path(shutil.copytree(saved[0], tmp_path / "tiny"))


def parts(folder):
    return sorted(folder.glob("model.weights.h5*"))


def rounded(model):
    return [array.astype("float16").astype("float32") for array in model.get_weights()]


def check_weights(model, expected):
    for array, other in zip(model.get_weights(), expected, strict=True):
        assert array.dtype == other.dtype == "float32"
        np.testing.assert_array_equal(array, other)


def test_weights_in_parts_of_float16_are_loaded_as_float32(saved):
    folder, model = saved
    names = [path.name for path in parts(folder)]
    assert names == [f"model.weights.h5.{number:02}" for number in range(len(names))]
    assert len(names) == presets.metadata(folder)["weights_parts"] > 2
    assert {path.stat().st_size for path in parts(folder)[:-1]} == {PART}
    loaded = presets.load(folder)
    assert loaded.get_config() == {**model.get_config(), "class_names": FACTS["classes"]}
    check_weights(loaded, rounded(model))


@pytest.mark.parametrize(("size", "count"), [(3, 1), (4, 1), (12, 3), (13, 4)])
def test_no_part_is_empty(tmp_path, size, count):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(bytes(range(size)))
    assert weights.split(path, 4) == len(parts(tmp_path)) == count
    assert b"".join(part.read_bytes() for part in parts(tmp_path)) == bytes(range(size))


def test_the_checksum_is_that_of_the_parts_one_after_the_other(saved):
    folder, _ = saved
    content = b"".join(path.read_bytes() for path in parts(folder))
    assert presets.metadata(folder)["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_float16_takes_half_of_the_bytes_in_one_file(tmp_path):
    model = small_coda_net(ranks=[64, 64, 64])
    folders = [presets.save(model, tmp_path / d, **FACTS, weights_dtype=d) for d in ("float32", "float16")]
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in folders]
    assert sizes[0] - sizes[1] == pytest.approx(2 * model.count_params(), rel=0.05)  # HDF5 pads its blocks
    assert "weights_parts" not in presets.metadata(folders[1])
    check_weights(presets.load(folders[1]), rounded(model))


def test_what_float16_cannot_hold_is_not_saved(tmp_path):
    model = small_coda_net()
    model.set_weights([array * 0 + 1e6 for array in model.get_weights()])
    with pytest.raises(presets.PresetError, match=r"NaN or infinite"):
        presets.save(model, tmp_path / "tiny", **FACTS, weights_dtype="float16")
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_dtype": "float64"}, r"'float32', 'float16'.*Received: 'float64'"),
        ({"part_bytes": 0}, r"`part_bytes` must be positive.*Received: 0"),
        ({"part_bytes": 1e6}, r"`part_bytes` must be an integer.*Received: 1000000"),
        ({"classes": 3}, r"`classes` must be.*Received: 3"),
        ({"image_shape": 6}, r"`image_shape` must be.*Received: 6"),
        ({"part_bytes": 1}, r"at most 100 parts.*Received: 1"),
    ],
)
def test_other_options_are_an_error(saved, tmp_path, options, message):
    with pytest.raises(presets.PresetError, match=message):
        presets.save(saved[1], tmp_path / "tiny", **{**FACTS, **options})
    assert not list(tmp_path.iterdir())


def test_missing_parts_are_named(folder):
    for number in (1, len(parts(folder)) - 1):
        path = folder / f"model.weights.h5.{number:02}"
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(presets.PresetError, match=rf"{folder}.*: {path.name} is missing"):
            presets.load(folder)
        path.write_bytes(content)
    presets.load(folder)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:7] + bytes([b[7] ^ 1]) + b[8:], lambda b: b""])
def test_damaged_parts_are_refused(folder, change):
    path = parts(folder)[1]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(presets.PresetError, match=r"are not those that the preset was saved with. Expected SHA-256"):
        presets.load(folder)


@pytest.mark.parametrize("count", [0, 101, -1, True, "8", None])
def test_a_number_of_parts_that_cannot_be(folder, count):
    path = folder / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_parts": count}))
    with pytest.raises(presets.PresetError, match=r"'weights_parts' in .* must be in 1..100. Received"):
        presets.load(folder)


def test_a_preset_in_parts_is_replaced_by_one_in_a_single_file(folder, saved):
    presets.save(saved[1], folder, **FACTS, overwrite=True)
    assert [path.name for path in parts(folder)] == ["model.weights.h5"]
    check_weights(presets.load(folder), saved[1].get_weights())


def test_a_checkout_has_presets_in_its_zoo(folder, saved, monkeypatch):
    monkeypatch.setattr(names, "ZOO", folder.parent)
    shutil.copytree(folder, folder.parent / "xl_coda_tinyimagenet")
    (folder.parent / "page_alone").mkdir()
    listed = {preset.name: preset.released for preset in presets.list_presets()}
    assert listed["tiny"]
    assert listed["xl_coda_tinyimagenet"]
    assert "page_alone" not in listed
    check_weights(presets.load("xl_coda_tinyimagenet"), rounded(saved[1]))


def test_the_hub_gets_one_file(hub, folder, saved):
    presets.publish(folder, "user/tiny", token=TOKEN)
    repository = hub.repositories["user/tiny"]
    files = repository.commits[repository.branches["main"]]
    assert set(files) == {".gitattributes", "README.md", "config.json", "metadata.json", "model.weights.h5"}
    check_weights(presets.load("hf://user/tiny"), rounded(saved[1]))


def test_as_many_parts_as_names_have_numbers(tmp_path):
    path = tmp_path / "model.weights.h5"
    for size in (301, 300):
        path.write_bytes(bytes(size))
        if size > 300:
            with pytest.raises(presets.PresetError, match="at most 100 parts of 301 bytes"):
                weights.split(path, 3)
    assert weights.split(path, 3) == 100
    assert [path.name for path in parts(tmp_path)] == weights.names(100)


def test_only_the_names_of_weights_are_taken_for_weights():
    names = [*weights.names(None), *weights.names(100)]
    assert all(weights.is_weights(name) for name in names)
    assert not any(weights.is_weights(name) for name in ("model.weights.h5.1", "model.weights.h5.000", "a.h5.00"))
