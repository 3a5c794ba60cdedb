"""Results are written into a preset's metadata as a whole or not at all, and never into a preset with a name."""

import builtins
import shutil

import pytest

from keras_coda import presets
from keras_coda.presets.names import bundled

pytestmark = pytest.mark.one_backend

RESULTS = {"test_accuracy": 0.5, "localisation": 0.25, "localisation_grids": 3}


@pytest.fixture
def folder(preset, tmp_path):
    return shutil.copytree(preset[0], tmp_path / "tiny")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_are_added_and_replaced(folder, preset, monkeypatch):
    before, contents_before = presets.metadata(folder), contents(folder)
    assert presets.add_results(folder, RESULTS) == folder / "metadata.json"
    after = presets.metadata(folder)
    assert after.pop("results") == {"test_images": 4, "epochs": 2, **RESULTS}
    before.pop("results")
    assert after.pop("metadata_sha256") != before.pop("metadata_sha256")
    assert after == before
    assert {**contents(folder), "metadata.json": contents_before["metadata.json"]} == contents_before
    assert presets.load(folder).count_params() == preset[1].count_params()
    # The name of a folder is a path, too, if no preset has this name.
    monkeypatch.chdir(folder.parent)
    presets.add_results("tiny", {"localisation": 0.75})
    assert presets.metadata(folder)["results"]["localisation"] == 0.75


@pytest.mark.parametrize("name", [*bundled(), "m_coda_cifar10", "hf://user/tiny"])
def test_what_has_a_name_is_not_altered(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for folder in bundled().values() for path in folder.iterdir()}
    with pytest.raises(presets.PresetError, match=f"Expected: its path. Received: the name '{name}'.*not altered"):
        presets.add_results(name, RESULTS)
    assert {path: path.read_bytes() for path in before} == before
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("results", [[0.5], {"accuracy": float("nan")}, {"accuracy": object()}])
def test_results_of_another_form_are_refused(folder, results):
    before = contents(folder)
    with pytest.raises(presets.PresetError, match="must be"):
        presets.add_results(folder, results)
    assert contents(folder) == before


def test_a_folder_that_holds_no_preset_is_refused(tmp_path):
    with pytest.raises(presets.PresetError, match=r"metadata\.json is missing"):
        presets.add_results(tmp_path, RESULTS)
    with pytest.raises(presets.PresetError, match="does not exist"):
        presets.add_results(tmp_path / "none", RESULTS)
    assert not any(tmp_path.iterdir())


def test_a_full_disk_leaves_the_file_as_it_was(folder):
    resource = pytest.importorskip("resource")
    before = contents(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(presets.PresetError, match=r"metadata\.json is as it was: .*too large"):
            presets.add_results(folder, RESULTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(folder) == before


def test_a_read_only_folder_leaves_the_file_as_it_was(folder, monkeypatch):
    before, real = contents(folder), builtins.open

    def refuses_to_write(path, mode="r", *arguments, **options):
        if "w" in mode:  # root may write to read-only files
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuses_to_write)
    with pytest.raises(presets.PresetError, match=r"metadata\.json is as it was: .*Permission denied"):
        presets.add_results(folder, RESULTS)
    monkeypatch.undo()
    assert contents(folder) == before
