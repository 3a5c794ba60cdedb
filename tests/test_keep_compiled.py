"""Compiled JAX programs are kept for later processes."""

import keras
import pytest

from keras_coda import backend

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone keeps what it compiles")


@pytest.fixture
def jax(tmp_path, monkeypatch):
    """JAX as in a new process, with the user's cache directory `tmp_path`."""
    jax = pytest.importorskip("jax")
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": None,
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is settings:
            yield jax


def compiled(jax, folder):
    """Compile something. Returns the files in `folder`."""
    jax.clear_caches()
    assert jax.jit(lambda x: (x @ x).sum())(jax.numpy.eye(3)) == 3
    return {path.relative_to(folder) for path in folder.rglob("*-cache") if path.is_file()}


def test_what_was_compiled_is_found_again(jax, tmp_path):
    backend.keep_compiled()
    first = compiled(jax, tmp_path)
    assert {path.parts[:2] for path in first} == {("keras-coda", "jax")}
    assert compiled(jax, tmp_path) == first


def test_the_folder_of_the_users_own_setting_is_taken(jax, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "other"))
    backend.keep_compiled()
    assert {path.parts[0] for path in compiled(jax, tmp_path)} == {"other"}
