"""Functions that differ by backend, with one signature each. Only the active backend's module is imported."""

import importlib
import types

import keras

from keras_coda._keras_backend import BACKENDS
from keras_coda.backend import plain

if keras.backend.backend() not in BACKENDS:
    raise ImportError(f"keras-coda runs on the Keras backends {BACKENDS}. Received: {keras.backend.backend()!r}")

_own = (importlib.import_module(f"{__name__}.{kind}{keras.backend.backend()}") for kind in ("", "devices_"))
_active = types.SimpleNamespace(**{name: value for module in (plain, *_own) for name, value in vars(module).items()})

average_gradients = _active.average_gradients
check_optimizer = _active.check_optimizer
compiled = _active.compiled
cpu_kernels = _active.cpu_kernels
custom_gradient = _active.custom_gradient
device_count = _active.device_count
export_onnx = _active.export_onnx
gpu_kernels = _active.gpu_kernels
input_pipeline = _active.input_pipeline
is_concrete = _active.is_concrete
is_exporting = _active.is_exporting
keep_compiled = _active.keep_compiled
map_in_turn = _active.map_in_turn
one_at_a_time = _active.one_at_a_time
prefers_gpu_kernels = _active.prefers_gpu_kernels
process = _active.process
pull_back = _active.pull_back
records_gradients = _active.records_gradients
replicas = _active.replicas
run_on = _active.run_on
runs_on_cpu = _active.runs_on_cpu
saved_model_arguments = _active.saved_model_arguments
summed = _active.summed
takes_device_batches = _active.takes_device_batches
weights_kept = _active.weights_kept
windows = _active.windows
