"""Shared by all tests, which run unchanged on every backend: `KERAS_BACKEND=... pytest tests/`."""

import gc
import os
import random
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The tests compile much and compute little, on arrays so small that threads would cost more than they save.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Most of JAX' time is compilation. All processes of a run share what they compiled, and nothing is left behind.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="keras-coda-tests-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis
import numpy as np
import pytest

# The same examples in every run; compilation makes the first one slow.
hypothesis.settings.register_profile("keras_coda", deadline=None, derandomize=True, max_examples=10)
hypothesis.settings.load_profile("keras_coda")


def pytest_collection_finish():
    """Spare the garbage collector the backends' modules, which it would go through again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seed():
    """Keras draws its own seeds from this one. (`keras.utils.set_random_seed` would import TensorFlow everywhere.)"""
    random.seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def drawn(rng):
    """An initializer that draws in NumPy: the same numbers on every backend, and nothing for JAX to compile."""
    return lambda shape, dtype="float32": rng.uniform(-0.5, 0.5, shape).astype(dtype)
