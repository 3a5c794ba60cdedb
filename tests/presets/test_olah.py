"""Presets from olah, an independent mirror of the Hub, which serves git repositories on this machine."""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time

import pytest
from small_models import same

from keras_coda import presets

pytestmark = pytest.mark.one_backend

pytest.importorskip("huggingface_hub")
pytest.importorskip("olah")
if shutil.which("git") is None:
    pytest.skip("needs git", allow_module_level=True)

KINDS = ("plain", "large")


def git(folder, *arguments):
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder, files, large):
    """Commit files. The weights may be stored separately (Git LFS) as on the Hub, with a pointer in their place."""
    for path in files.iterdir():
        content = path.read_bytes()
        if large and path.suffix == ".h5":
            oid = hashlib.sha256(content).hexdigest()
            stored = folder / ".git/lfs/objects" / oid[:2] / oid[2:4] / oid
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(content)
            size = len(content)
            content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
        (folder / path.name).write_bytes(content)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "a preset")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def olah(preset, tmp_path_factory):
    """The address of olah, and the first of two commits in each repository; the models of both."""
    root = tmp_path_factory.mktemp("olah")
    first = presets.load(preset[0])
    first.set_weights([weight + 1 for weight in first.get_weights()])
    facts = presets.metadata(preset[0])
    former = presets.save(first, root / "former", dataset=facts["dataset"], classes=facts["classes"])
    commits = {}
    for kind in KINDS:
        folder = root / "mirror/models/org" / kind
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        commits[kind] = commit(folder, former, kind == "large")
        commit(folder, preset[0], kind == "large")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"host": "127.0.0.1", "port": port, "mirrors-path": [str(root / "mirror")], "repos-path": str(root)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (root / "olah.toml").write_text("\n".join(["[basic]", *lines, "[accessibility]", "offline = true"]))
    command = [sys.executable, "-m", "olah.server", "-c", "olah.toml", "--log-path", "logs"]
    with open(root / "log", "w") as log:
        server = subprocess.Popen(command, cwd=root, stdout=log, stderr=log)
    try:
        _wait_for(server, port, root / "log")
        yield f"http://127.0.0.1:{port}", commits, (first, preset[1])
    finally:
        server.kill()
        server.wait()


def _wait_for(server, port, log):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def models(olah, set_environment, tmp_path, monkeypatch):
    """The commits and models, with the client before olah and an empty cache."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    set_environment(HF_ENDPOINT=olah[0], HF_HOME=str(tmp_path), NO_PROXY="127.0.0.1", HF_HUB_DISABLE_XET="1")
    return olah[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_main_and_an_earlier_commit(models, kind, set_environment):
    commits, (first, second) = models
    handle = f"hf://org/{kind}"
    for _ in range(2):
        assert same(presets.load(handle), second)
        assert same(presets.load(f"{handle}@main"), second)
        assert same(presets.load(f"{handle}@{commits[kind]}"), first)
        set_environment(HF_HUB_OFFLINE="1")


@pytest.mark.parametrize("name", ["org/other", "org/plain@v1"])
def test_what_is_not_there(models, name):
    with pytest.raises(presets.PresetError, match=rf"hf://{name}' was not downloaded: .*HTTP 40[14]"):
        presets.load(f"hf://{name}")
