"""Compare a CoDA-Net's speed and memory with materialised weights, with plain convolutions and with ResNet-56.

    KERAS_BACKEND=torch python scripts/benchmark.py --size s --batch 8 32 128 --json s.json

Times a training step, inference and explanations. All networks take turns in one process, and the median of several
rounds after a warm-up counts. Peak memory is measured in a separate process for each network. Prints Markdown.

- ours: this project.
- materialised: eq. (1) of the paper literally, with the dynamic weights in memory.
- floor: plain convolutions of the same shapes, without the contraction and the norms.
- resnet56: ResNet-56 on the same images.
"""

import argparse
import json
import os
import pathlib
import shlex
import sys

import keras
from benchmarks import counts, machine, measure, networks, tables

import keras_coda
from keras_coda.models.sizes import CLASSES, SIZES

IMAGE_SIZES = {"s": 32, "m": 32, "l": 240, "xl": 64, "custom": 32}
LISTS = ("filters", "kernel_sizes", "ranks", "strides")
COUNTED = (
    *("positions", "d", "n", "r", "convolutions", "contraction", "norms", "gram"),
    *("input_bytes", "output_bytes", "intermediate_bytes", "dynamic_weight_bytes", "weight_bytes"),
)
ENVIRONMENT = ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "XLA_FLAGS")


def _integers(text):
    return [int(value) for value in text.split(",")]


def _subset(of):
    def parse(text):
        chosen = text.split(",")
        if unknown := set(chosen) - set(of):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(of)}. Received: {','.join(sorted(unknown))}")
        return [name for name in of if name in chosen]

    return parse


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer. Received: {value}")
    return value


def parse(argv):
    """The options. `layout` has the arguments of `CoDANet`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(IMAGE_SIZES), default="s")
    for name in LISTS:
        text = "integers with commas, for each layer of --size custom"
        parser.add_argument(f"--{name.replace('_', '-')}", type=_integers, help=text, metavar="N,N,...")
    parser.add_argument("--image-size", type=_positive, nargs="+", help="one or several; default: the size's own")
    parser.add_argument("--batch", type=_positive, nargs="+", default=[32], help="one or several")
    parser.add_argument("--dtype", default="float32", help="dtype policy (default: %(default)s)")
    for name, every in (("models", list(networks.BUILDERS)), ("jobs", list(measure.JOBS))):
        text = f"some of {','.join(every)}; default: all"
        parser.add_argument(f"--{name}", type=_subset(every), default=every, help=text, metavar="NAME,...")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="rounds that are not counted (default: %(default)s)")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the peak memory out")
    forms = ["auto", *keras_coda.contractions.FORMS]
    text = "form of this project's contraction, see keras_coda.set_contraction (default: %(default)s)"
    parser.add_argument("--contraction", choices=forms, default="auto", help=text)
    parser.add_argument("--remat", action="store_true", help="compute DAU layers again in the backward pass")
    parser.add_argument("--layers", action="store_true", help="count multiply-adds and bytes of each layer, too")
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH", help="write all results to this file, too")
    parser.add_argument("--memory-of", choices=list(networks.BUILDERS), help=argparse.SUPPRESS)
    settings = parser.parse_args(argv)

    given = {name: getattr(settings, name) for name in LISTS}
    if settings.size == "custom":
        if None in given.values() or len({len(values) for values in given.values()}) != 1:
            parser.error("--size custom needs --filters, --kernel-sizes, --ranks and --strides, of one length")
        settings.layout = {**given, "temperature": 1.0}
    else:
        if any(given.values()):
            parser.error("--filters, --kernel-sizes, --ranks and --strides are for --size custom")
        layers = SIZES[settings.size]
        settings.layout = {**layers, "filters": [*layers["filters"], CLASSES[settings.size]]}
    settings.image_size = settings.image_size or [IMAGE_SIZES[settings.size]]
    return settings


def memory(settings, argv, points):
    """The peak memory of each network at each point."""
    found = []
    for size, batch in points:
        for name in settings.models:
            measure.progress(f"memory of {name}, {size} x {size}, batch {batch}")
            options = ["--image-size", str(size), "--batch", str(batch), "--memory-of", name]
            measured = measure.memory_of_child([sys.executable, os.path.abspath(__file__), *argv, *options])
            found.append({"image_size": size, "batch": batch, "model": name, **measured})
    return found


def count(settings, batch):
    """The counts (see `benchmarks.counts`) of each layer at each image size, as plain data."""
    found = []
    for size in settings.image_size:
        for number, layer in enumerate(counts.dau_layers(settings.layout, size, settings.dtype), start=1):
            row = {"image_size": size, "batch": batch, "layer": number}
            intensities = {
                "intensity": layer.intensity(batch, keeps_intermediate=False),
                "intensity_in_memory": layer.intensity(batch, keeps_intermediate=True),
            }
            found.append({**row, **{name: getattr(layer, name) for name in COUNTED}, **intensities})
    return found


def _environment():
    """The environment variables that matter for speed, in the form in which they precede a command."""
    values = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    return [f"{name}={shlex.quote(values[name])}" for name in ENVIRONMENT if name in values]


def main(argv=None):
    """Measure, and print the tables."""
    argv = sys.argv[1:] if argv is None else argv
    settings = parse(argv)
    keras_coda.set_contraction(settings.contraction)
    points = [(size, batch) for size in settings.image_size for batch in settings.batch]
    if settings.memory_of:
        print(json.dumps(measure.memory(settings, settings.memory_of, *points[0])))
        return

    load = os.getloadavg()[0]
    # Before this process uses a GPU: some backends then reserve almost all of its memory.
    memories = memory(settings, argv, points) if settings.memory else []
    report = {
        "command": " ".join([*_environment(), shlex.join(["python", "scripts/benchmark.py", *argv])]),
        **{key: getattr(settings, key) for key in ("size", "layout", "dtype", "rounds", "warmup")},
        "backend": keras.backend.backend(),
        "contraction": keras_coda.contraction(keras.dtype_policies.get(settings.dtype).compute_dtype),
        "versions": machine.versions(),
        "cpu": machine.cpu(),
        "cores": machine.cores(),
        "gpu": machine.gpu(),
        "load": load,
        "results": [],
        "memory": memories,
        "layers": count(settings, settings.batch[0]) if settings.layers else [],
    }
    for size, batch in points:
        measure.progress(f"{size} x {size}, batch {batch}")
        here = [m for m in memories if (m["image_size"], m["batch"]) == (size, batch)]
        failed = {m["model"]: m["failed"] for m in here if "failed" in m}
        report["results"] += measure.point(settings, size, batch, failed)
        if settings.json:  # after each point, in case the run is interrupted
            settings.json.write_text(json.dumps(report, indent=1) + "\n")
    print(tables.heading(report))
    print(tables.results(report))
    if settings.layers:
        print(tables.layers(report))


if __name__ == "__main__":
    main()
