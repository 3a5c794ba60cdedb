"""The machine of the benchmark and its memory. Only here the benchmark differs by backend."""

import ctypes
import gc
import importlib
import os
import pathlib
import platform
import resource
import sys

import keras

LIBRARIES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def _library():
    return importlib.import_module(LIBRARIES[keras.backend.backend()])


def gpu():
    """The name of the GPU that the backend uses, or `None`."""
    backend, library = keras.backend.backend(), _library()
    if backend == "torch":
        return library.cuda.get_device_name() if library.cuda.is_available() else None
    if backend == "jax":
        device = library.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    devices = library.config.list_physical_devices("GPU")
    return library.config.experimental.get_device_details(devices[0])["device_name"] if devices else None


def cpu():
    """The processor's name."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores():
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions():
    """Versions of Python, Keras and the backend's library."""
    library = _library()
    return {"python": platform.python_version(), "keras": keras.__version__, library.__name__: library.__version__}


def peak_memory():
    """Peak memory in bytes, of the GPU if there is one, else of this process."""
    if not gpu():
        return _peak_of_process()
    backend, library = keras.backend.backend(), _library()
    if backend == "torch":
        return library.cuda.max_memory_allocated()
    if backend == "jax":
        return library.devices()[0].memory_stats()["peak_bytes_in_use"]
    return library.config.experimental.get_memory_info("GPU:0")["peak"]


def _peak_of_process():
    # Preferred to ru_maxrss, which on Linux a new process inherits from its parent.
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak():
    """Release unused memory of this process and reset its peak. Returns whether this is possible here."""
    if gpu():
        return False
    gc.collect()
    # Otherwise the allocator keeps memory freed after compilation, which would count as used.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def available_memory():
    """Free bytes, on the GPU if there is one, else for this process; `None` if unknown."""
    backend, library = keras.backend.backend(), _library()
    if gpu():
        if backend == "torch":
            return library.cuda.mem_get_info()[0]
        if backend == "jax":
            stats = library.devices()[0].memory_stats()
            return stats["bytes_limit"] - stats["bytes_in_use"]
        return None
    of_machine = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    of_group = [int(limit[0]) - int(used[0])] if limit and used and limit[0].isdigit() else []
    return min(of_machine + of_group, default=None)


def _lines(path):
    try:
        return pathlib.Path(path).read_text().splitlines()
    except OSError:
        return []
