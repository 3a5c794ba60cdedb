"""Presets from the Hub by its real client: they load, also from the cache, or an error says why."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap
import threading

import pytest
from loopback_hub import TOKEN
from small_models import same

import keras_coda
from keras_coda import presets
from keras_coda.presets.names import KNOWN

pytestmark = pytest.mark.one_backend

FILES = ("config.json", "metadata.json", "model.weights.h5")
HANDLE = "hf://user/tiny"


@pytest.fixture
def repository(hub, preset):
    """The small preset on the Hub, with other files beside it."""
    repository = hub.add("user/tiny", preset[0])
    repository.commit({"README.md": b"about", "model.safetensors": b"other weights"}, "more")
    return repository


def altered(folder, tmp_path):
    """A preset with other weights."""
    model = presets.load(folder)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    facts = presets.metadata(folder)
    return presets.save(model, tmp_path / "other", dataset=facts["dataset"], classes=facts["classes"]), model


def cached(tmp_path, file):
    """The file in the client's cache, which has one commit."""
    (path,) = (tmp_path / "cache").glob(f"hub/models--user--tiny/snapshots/*/{file}")
    return path


# Loading.


def test_exactly_three_files_are_downloaded(hub, repository, preset):
    assert same(presets.load(HANDLE), preset[1])
    assert presets.metadata(HANDLE) == presets.metadata(preset[0])
    downloaded = sorted(
        path.rpartition("/")[2] for method, path in hub.requests if (method, "resolve" in path) == ("GET", True)
    )
    assert downloaded == [*FILES]


def test_only_what_is_needed_is_downloaded(hub, repository, tmp_path):
    assert presets.metadata(HANDLE)["dataset"] == "My Noise"
    assert not hub.asked("GET", "config.json|h5")
    assert isinstance(presets.load(HANDLE, load_weights=False), keras_coda.CoDANet)
    assert not hub.asked("GET", "h5")


def test_by_branch_and_by_commit(hub, repository, preset, tmp_path):
    folder, other = altered(preset[0], tmp_path)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    commit = repository.commit(content, "on a branch", branch="try/1")
    repository.commit({"config.json": b"broken"}, "later", branch="try/2")
    for revision in ("try/1", commit):
        assert same(presets.load(f"{HANDLE}@{revision}"), other)
    assert same(presets.load(f"{HANDLE}@main"), preset[1])


def test_by_the_name_of_a_network_at_the_commit_that_was_released(hub, repository, preset, monkeypatch):
    name, commit = "m_coda_cifar10", repository.branches["main"]
    monkeypatch.setitem(KNOWN, name, KNOWN[name]._replace(source=f"{HANDLE}@{commit}"))
    repository.commit({"metadata.json": b"later"}, "not what was released")
    assert same(presets.load(name), preset[1])
    assert presets.metadata(name)["dataset"] == "My Noise"
    released = {info.name: info.released for info in presets.list_presets()}
    assert released[name]
    assert not released["l_coda_imagenet100"]
    # A commit does not change, so the second call makes no request.
    before = len(hub.requests)
    assert same(presets.load(name), preset[1])
    assert len(hub.requests) == before
    hub.stop()
    assert same(presets.load(name), preset[1])
    assert presets.load(name, load_weights=False).count_params() == 27_517_536


def test_names_are_of_fixed_commits():
    for network in KNOWN.values():
        assert re.fullmatch("None|hf://[^/@]+/[^/@]+@[0-9a-f]{40}", str(network.source))


def test_a_new_commit_is_seen_and_an_old_one_is_kept(hub, repository, preset, tmp_path):
    first = repository.branches["main"]
    presets.load(HANDLE)
    folder, other = altered(preset[0], tmp_path)
    hub.add("user/tiny", folder)
    assert same(presets.load(HANDLE), other)
    assert same(presets.load(f"{HANDLE}@{first}"), preset[1])


def test_the_second_time_comes_from_the_cache_and_without_a_hub_too(hub, repository, preset, set_environment):
    presets.load(HANDLE)
    before = hub.asked("GET", "resolve")
    assert same(presets.load(HANDLE), preset[1])
    assert hub.asked("GET", "resolve") == before
    hub.interfere = lambda method, path: 503
    assert same(presets.load(HANDLE), preset[1])
    hub.stop()
    assert same(presets.load(HANDLE), preset[1])
    set_environment(HF_HUB_OFFLINE="1")
    assert same(presets.load(HANDLE), preset[1])


def test_a_token_opens_a_private_repository(hub, preset, set_environment):
    hub.add("user/tiny", preset[0], private=True)
    with pytest.raises(presets.PresetError, match="no such repository, or you have no access"):
        presets.load(HANDLE)
    set_environment(HF_TOKEN=TOKEN)
    assert same(presets.load(HANDLE), preset[1])


def test_a_broken_download_goes_on_where_it_broke(hub, repository, preset, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 40)  # 10 MB; an incomplete chunk is downloaded again

    def interfere(method, path):
        return 99 if method == "GET" and path.endswith("h5") and hub.asked("GET", "h5") == 1 else None

    hub.interfere = interfere
    assert same(presets.load(HANDLE), preset[1])
    assert hub.resumed == [("model.weights.h5", 80)]


def test_the_cache_is_that_of_other_tools(hub, repository, preset, tmp_path):
    import huggingface_hub

    theirs = huggingface_hub.hf_hub_download("user/tiny", "model.weights.h5")
    assert same(presets.load(HANDLE), preset[1])
    assert hub.asked("GET", "h5") == 1
    assert theirs == str(cached(tmp_path, "model.weights.h5"))
    before = len(hub.requests)
    for file in FILES:
        ours = huggingface_hub.hf_hub_download("user/tiny", file, local_files_only=True)
        assert pathlib.Path(ours).read_bytes() == (preset[0] / file).read_bytes()
    assert len(hub.requests) == before


def test_a_bar_shows_progress_unless_it_is_turned_off(hub, repository, set_environment, capfd):
    presets.load(HANDLE)
    assert not capfd.readouterr().err
    repository.commit({"README.md": b"changed"}, "for another folder")
    set_environment(HF_HUB_DISABLE_PROGRESS_BARS="0")
    presets.load(HANDLE)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("request_", ["GET /api/models/user/tiny/revision", "HEAD .*h5", "GET .*h5"])
def test_a_busy_hub_is_asked_again(hub, repository, preset, status, request_):
    method, pattern = request_.split()

    def interfere(used, path):
        return status if used == method and re.match(pattern, path) and hub.asked(method, pattern) < 3 else None

    hub.interfere = interfere
    assert same(presets.load(HANDLE), preset[1])
    assert hub.asked(method, pattern) == 3


PROCESS = textwrap.dedent(
    """
    import sys, types
    # The packages without what they import: Keras takes seconds.
    for name in ("keras_coda", "keras_coda.presets"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
    from keras_coda.presets.hub import download
    print(download("hf://user/tiny", sys.argv[2:]))
    """
)


def test_four_processes_at_once(hub, repository, preset):
    together = threading.Barrier(4)

    def interfere(method, path):
        if path.startswith("/api/models/user/tiny/revision"):
            together.wait(60)

    hub.interfere = interfere
    root = str(pathlib.Path(keras_coda.__file__).parent.parent)
    command = [sys.executable, "-c", PROCESS, root, *FILES]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=os.environ, **pipes) for _ in range(4)]
    ended = [(*process.communicate(), process.returncode) for process in processes]
    assert [code for _, _, code in ended] == [0] * 4, ended
    assert len({folder for folder, _, _ in ended}) == 1
    hub.stop()
    assert same(presets.load(HANDLE), preset[1])


# Damaged files are refused, and replaced.


DAMAGES = {
    "shorter": lambda content: content[:-9],
    "other": lambda content: b"{" + content[1:].swapcase(),
    # The JSON files would still load, as a preset with other logits or names.
    "plausible": lambda content: content.replace(b'"temperature": 5.0', b'"temperature": 7.0').replace(b"s 3", b"s 4"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_in_the_cache_is_named_and_can_be_dropped(hub, repository, preset, tmp_path, file, damage):
    presets.load(HANDLE)
    path = cached(tmp_path, file)
    real = path.resolve()
    content = real.read_bytes()
    real.write_bytes(DAMAGES[damage](content))
    if real.read_bytes() == content:
        assert (file, damage) == ("model.weights.h5", "plausible")
        return
    fails(HANDLE, f"{path} is not the file", f"Delete {real} and load again")
    real.unlink()
    assert same(presets.load(HANDLE), preset[1])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_damaged_on_the_way_is_refused(hub, repository, preset, tmp_path, file, damage):
    hub.on_the_way = lambda name, content: DAMAGES[damage](content) if name == file else content
    if damage == "shorter":
        fails(HANDLE, "Consistency check failed")
    elif (file, damage) != ("model.weights.h5", "plausible"):
        fails(HANDLE, "truncated or altered, on the way")
        cached(tmp_path, file).resolve().unlink()
    hub.on_the_way = lambda name, content: content
    assert same(presets.load(HANDLE), preset[1])


def test_weights_that_the_metadata_does_not_know_are_refused(hub, repository, preset):
    repository.commit({"model.weights.h5": b"of another preset"}, "altered")
    for _ in range(2):
        with pytest.raises(presets.PresetError, match=r"model\.weights\.h5 is not the file.*Expected SHA-256: "):
            presets.load(HANDLE)


# Errors.


def fails(handle, *parts):
    with pytest.raises(presets.PresetError) as error:
        presets.load(handle)
    message = str(error.value)
    assert "\n" not in message
    for part in (handle, *parts):
        assert part in message


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "hf auth login"),
        (403, "hf auth login"),
        (404, "Check the name"),
        (429, "Wait some minutes"),
        (500, "Try again later"),
        (503, "Try again later"),
    ],
)
@pytest.mark.parametrize("request_", ["GET /api", "HEAD /user", "GET /user"])
def test_a_hub_that_refuses(hub, repository, tmp_path, status, advice, request_):
    method, pattern = request_.split()
    hub.interfere = lambda used, path: status if used == method and path.startswith(pattern) else None
    fails(HANDLE, f"HTTP {status}", advice)
    hub.interfere = lambda used, path: None
    assert presets.load(HANDLE).count_params()


def test_what_is_not_there(hub, repository):
    fails("hf://user/other", "no such repository", "HTTP 401")
    fails(f"{HANDLE}@v9", "no such revision", "Check the branch")
    fails(f"{HANDLE}@{'0' * 40}", "no such revision")
    repository.commits[repository.branches["main"]].pop("model.weights.h5")
    fails(HANDLE, "no complete preset", "Missing: ['model.weights.h5']")


def test_a_connection_that_always_breaks(hub, repository, preset):
    hub.interfere = lambda method, path: 0 if method == "GET" and path.endswith("h5") else None
    fails(HANDLE, "the connection broke")
    hub.interfere = lambda method, path: None
    assert same(presets.load(HANDLE), preset[1])


def test_no_network(hub, repository, set_environment):
    hub.stop()
    fails(HANDLE, f"not reached at {hub.url}", "Check the network")
    set_environment(HF_HUB_OFFLINE="1")
    fails(HANDLE, "HF_HUB_OFFLINE is set")


def test_a_part_in_the_cache_is_not_taken_for_the_whole(hub, repository, set_environment, tmp_path):
    presets.metadata(HANDLE)
    set_environment(HF_HUB_OFFLINE="1")
    assert presets.metadata(HANDLE)["dataset"] == "My Noise"
    fails(HANDLE, "HF_HUB_OFFLINE is set")
    # Other tools do not write the list of the repository's files into the cache.
    (tmp_path / f"cache/hub/models--user--tiny/trees/{repository.branches['main']}.json").unlink()
    set_environment()
    fails(HANDLE, "Missing: ['config.json', 'model.weights.h5']", "only the cache may lack them")


@pytest.mark.parametrize(
    "handle", ["hf://", "hf://repo", "hf://a/b/c", "hf://user/repo@", "hf://user/re po", "hf://../repo", "hf://user/-"]
)
def test_handles_of_another_form(hub, handle):
    fails(handle)
    assert not hub.requests


def test_without_the_client_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (presets.load, presets.metadata):
        with pytest.raises(ImportError, match=r"keras-coda\[hub\]"):
            call(HANDLE)
