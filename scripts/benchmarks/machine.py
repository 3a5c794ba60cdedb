"""What the benchmark runs on, and the memory there: the one place in the benchmark where backends differ."""

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
    """The most bytes that were in use at once: of the GPU where there is one, else of this process."""
    if not gpu():
        return _peak_of_process()
    backend, library = keras.backend.backend(), _library()
    if backend == "torch":
        return library.cuda.max_memory_allocated()
    if backend == "jax":
        return library.devices()[0].memory_stats()["peak_bytes_in_use"]
    return library.config.experimental.get_memory_info("GPU:0")["peak"]


def _peak_of_process():
    # Not ru_maxrss where this is there: on Linux a new process starts from that of its parent.
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak():
    """Give unused memory of this process back, and let its peak begin anew. Returns whether that can be done here."""
    if gpu():
        return False
    gc.collect()
    # What compilation took and freed stays with the allocator otherwise, and would count as in use.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def available_memory():
    """Bytes that can still be used, on the GPU where there is one, else in this process; `None` if not known."""
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
