"""The Hub's real client with a Hub on this machine."""

import sys
import time

import pytest
from loopback_hub import LoopbackHub


def forget_client():
    """The client reads its environment on import. So it is imported again."""
    names = [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def set_environment(monkeypatch):
    """A function that sets variables of the client's environment."""
    former = forget_client()

    def set_environment(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_client()

    yield set_environment
    forget_client()
    sys.modules.update(former)


@pytest.fixture
def hub(set_environment, tmp_path, monkeypatch):
    """An empty Hub and an empty cache. The client does not wait before it retries."""
    pytest.importorskip("huggingface_hub")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    server = LoopbackHub()
    off = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"), "1")
    set_environment(HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "cache"), NO_PROXY="127.0.0.1", **off)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield server
    server.stop()
