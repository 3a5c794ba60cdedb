"""Shared by all tests, which run unchanged on every backend: `KERAS_BACKEND=... pytest tests/`."""

import contextlib
import gc
import importlib
import os
import pathlib
import random
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The tests compile much and compute little. On such small arrays threads cost more than they save.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# JAX mostly compiles. All processes of a run share compiled programs, which are removed at the end.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="keras-coda-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import keras
import numpy as np
import pytest

pytest_plugins = ["hub_fixtures"]

# The same examples in every run; compilation makes the first one slow.
hypothesis.settings.register_profile("keras_coda", deadline=None, derandomize=True, max_examples=10)
hypothesis.settings.load_profile("keras_coda")


def pytest_collection_finish():
    """Exclude the backends' modules from garbage collection, which would visit them again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seed():
    """Set the seed from which Keras draws its seeds. (`keras.utils.set_random_seed` would import TensorFlow.)"""
    random.seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def load(monkeypatch):
    """Imports a module of the scripts folder by its name."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent.parent / "scripts"))
    return importlib.import_module


@pytest.fixture
def drawn(rng):
    """An initializer that draws in NumPy: the same numbers on every backend, and nothing for JAX to compile."""
    return lambda shape, dtype="float32": rng.uniform(-0.5, 0.5, shape).astype(dtype)


@pytest.fixture
def low_precision():
    """A context manager: Keras' dtype policy is mixed_bfloat16 in the block `with low_precision():`."""

    @contextlib.contextmanager
    def policy():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    return policy
