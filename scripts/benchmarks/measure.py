"""Time functions in turns, and measure the memory of one in a separate process."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time

import keras
import numpy as np

from benchmarks import counts, machine, networks

JOBS = {
    "train": "training step",
    "inference": "inference",
    "explain": "explanation, one class",
    "explain-all": "explanation, all classes",
}

# Training needs this many times the bytes of all dynamic weights at once: w, u and their gradients.
MATERIALISED_COPIES = 4.0
# Calls after the first one, which compiles.
CALLS_FOR_MEMORY = 3


def progress(text):
    """Print progress on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def describe(error):
    """An error as one line."""
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}{': ' + lines[0][:100] if lines else ''}"


def check_memory(name, job, layers, batch):
    """Raise MemoryError if materialised weights clearly do not fit."""
    available = machine.available_memory()
    if name != "materialised" or available is None:
        return
    each = [layer.dynamic_weight_bytes for layer in layers]
    needed = MATERIALISED_COPIES * batch * (sum(each) if job == "train" else max(each))
    if needed > available:
        raise MemoryError(f"needs about {needed / 2**30:.0f} GiB, and {available / 2**30:.0f} GiB are available")


def data(image_size, batch, classes):
    """Random images and labels."""
    generator = np.random.default_rng(0)
    images = generator.random((batch, image_size, image_size, 3), dtype="float32")
    return images, generator.integers(0, classes, batch)


def training_step(model, images, labels):
    """Run a training step, and wait for its last result."""
    model.train_on_batch(images, labels)
    # One number of the last changed weights is enough. Copying all of them from a GPU would take long.
    return keras.ops.convert_to_numpy(keras.ops.ravel(model.trainable_variables[-1])[0])


def functions(name, model, images, labels):
    """The timed functions of a network, by job. Each returns its results in NumPy, so that it waits for the device."""
    found = {
        "train": lambda: training_step(model, images, labels),
        "inference": lambda: model.predict_on_batch(images),
    }
    if name == "ours":
        found["explain"] = lambda: model.explain(images, batch_size=len(images))
        found["explain-all"] = lambda: model.explain(images, "all", batch_size=len(images))
    return found


def interleaved(timed, rounds, warmup):
    """Time functions in turns.

    Args:
        timed: functions without arguments, by name.
        rounds: number of timed calls of each.
        warmup: number of calls of each before that.

    Returns:
        By name, a list of seconds, or the error that the function raised.
    """
    seconds: dict = {name: [] for name in timed}
    for number in range(warmup + rounds):
        for name, function in timed.items():
            if isinstance(seconds[name], str):
                continue
            progress(f"{name}: {'warm-up' if number < warmup else f'round {number - warmup + 1} of {rounds}'}")
            start = time.perf_counter()
            try:
                function()
            except Exception as error:
                seconds[name] = describe(error)
                gc.collect()
                continue
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def point(settings, image_size, batch, failed):
    """Measure all chosen networks and jobs at one image size and batch.

    Args:
        settings: the options of `scripts/benchmark.py`.
        image_size: height and width.
        batch: images at once.
        failed: dict from networks whose training step cannot be measured to the reason.

    Returns:
        A list of results, one for each network and job.
    """
    layers = counts.dau_layers(settings.layout, image_size, settings.dtype)
    images, labels = data(image_size, batch, settings.layout["filters"][-1])
    results, timed = [], {}
    for name in settings.models:
        model = networks.build(name, settings.layout, image_size, settings.dtype, settings.remat)
        common = {"image_size": image_size, "batch": batch, "model": name}
        common["multiply_adds"] = counts.multiply_adds(name, model, layers)
        for job, function in functions(name, model, images, labels).items():
            if job not in settings.jobs:
                continue
            result = {**common, "job": job}
            results.append(result)
            if job == "train" and name in failed:
                result["failed"] = failed[name]
                continue
            try:
                check_memory(name, job, layers, batch)
            except MemoryError as error:
                result["failed"] = describe(error)
                continue
            timed[f"{name}, {job}"] = function, result
    seconds = interleaved({key: function for key, (function, _) in timed.items()}, settings.rounds, settings.warmup)
    for key, (_, result) in timed.items():
        if isinstance(seconds[key], str):
            result["failed"] = seconds[key]
        else:
            median = statistics.median(seconds[key])
            result.update(seconds=median, all_seconds=seconds[key], images_a_second=batch / median)
    return results


def memory(settings, name, image_size, batch):
    """The peak memory of the first chosen job. This process must have done nothing else before.

    Returns:
        A dict of bytes: `before`, the peak before the model was built; `peak`, the overall peak; and `compiled`, the
        peak after the first call, which compiles (`None` if unknown, as on GPUs).
    """
    before = machine.peak_memory()
    layers = counts.dau_layers(settings.layout, image_size, settings.dtype)
    images, labels = data(image_size, batch, settings.layout["filters"][-1])
    try:
        check_memory(name, settings.jobs[0], layers, batch)
        model = networks.build(name, settings.layout, image_size, settings.dtype, settings.remat)
        function = functions(name, model, images, labels)[settings.jobs[0]]
        function()
        peak = machine.peak_memory()
        forgotten = machine.forget_peak()
        for _ in range(CALLS_FOR_MEMORY):
            function()
    except Exception as error:
        return {"failed": describe(error)}
    compiled = machine.peak_memory()
    return {"before": before, "peak": max(peak, compiled), "compiled": compiled if forgotten else None}


def memory_of_child(command):
    """The result of `memory` in a separate process, which prints it as its last line."""
    # Otherwise JAX reserves most of the GPU's memory.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    child = subprocess.run(command, capture_output=True, text=True, env=environment)
    if child.returncode:
        lines = child.stderr.strip().splitlines()
        if child.returncode == -9:
            lines = ["it was killed, most likely for want of memory"]
        return {"failed": f"failed: {lines[-1][:100] if lines else f'exit status {child.returncode}'}"}
    return json.loads(child.stdout.strip().splitlines()[-1])
