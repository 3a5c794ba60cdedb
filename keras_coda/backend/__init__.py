"""Functions that differ by backend, with one signature each. Only the active backend's module is imported."""

import importlib

import keras

BACKENDS = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in BACKENDS:
    raise ImportError(f"keras-coda runs on the Keras backends {BACKENDS}. Received: {keras.backend.backend()!r}")

_active = importlib.import_module(f"keras_coda.backend.{keras.backend.backend()}")

compiled = _active.compiled
cpu_kernels = _active.cpu_kernels
custom_gradient = _active.custom_gradient
export_onnx = _active.export_onnx
gpu_kernels = _active.gpu_kernels
input_pipeline = _active.input_pipeline
is_concrete = _active.is_concrete
is_exporting = _active.is_exporting
keep_compiled = _active.keep_compiled
map_in_turn = _active.map_in_turn
one_at_a_time = _active.one_at_a_time
prefers_gpu_kernels = _active.prefers_gpu_kernels
pull_back = _active.pull_back
records_gradients = _active.records_gradients
runs_on_cpu = _active.runs_on_cpu
saved_model_arguments = _active.saved_model_arguments
takes_device_batches = _active.takes_device_batches
weights_kept = _active.weights_kept
windows = _active.windows

_devices = importlib.import_module(f"keras_coda.backend.devices_{keras.backend.backend()}")

average_gradients = _devices.average_gradients
device_count = _devices.device_count
process = _devices.process
replicas = _devices.replicas
run_on = _devices.run_on
summed = _devices.summed
