"""The table of docs/export.md: what each format, written with the active backend, makes of some networks.

    KERAS_BACKEND=torch python scripts/export_matrix.py --networks digits colour

Every file is run by its own runtime on other images, and other numbers of them, than it was traced with. A line is
printed as soon as it is measured. All times are of one run, on the CPU, one thread where OMP_NUM_THREADS=1.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import warnings

import keras
import numpy as np

import keras_coda
from keras_coda.exporting import FORMATS

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "exporting"))
from clients import RUN

NETWORKS = {
    "digits": (lambda: keras_coda.presets.load("xs_coda_digits"), (16, 16, 1)),
    "colour": (lambda: keras_coda.presets.load("xs_coda_cifar10"), (32, 32, 3)),
    "s": (lambda: keras_coda.CoDANet.from_size("s", image_shape=(32, 32, 3)), (32, 32, 3)),
}
HEADER = ["format", "backend", "network", "weights", "images", "logits", "maps", "MB", "s to write"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["digits", "colour"])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=[*FORMATS])
    parser.add_argument("--explain", choices=["predicted", "all"], default="predicted")
    settings = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| " + " | ".join(HEADER) + " |\n|" + " --- |" * len(HEADER))
    for network in settings.networks:
        make, shape = NETWORKS[network]
        keras.utils.set_random_seed(0)
        model = make()
        for name in settings.formats:
            form = FORMATS[name]
            if keras.backend.backend() in form.backends:
                for weights in form.weights:
                    row = measure(model, form, shape, weights, settings.explain)
                    print("| " + " | ".join([name, keras.backend.backend(), network, weights, *row]) + " |", flush=True)


def measure(model, form, shape, weights, explain):
    """The last cells of a row: dynamic batch, relative errors, size of the file, seconds."""
    images = np.random.default_rng(0).random((5, *shape), "float32")
    explanation = model.explain(images, None if explain == "predicted" else "all")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"model{form.suffix}")
        start = time.perf_counter()
        try:
            keras_coda.export(model, path, explain, image_shape=shape, weights=weights)
            seconds = time.perf_counter() - start
            outputs, batch = run(form, path, images)
        except Exception as refusal:
            return ["refused", f"{type(refusal).__name__}: {str(refusal).splitlines()[0][:80]}", "", "", ""]
        logits, maps = (
            f"{error(outputs[key], getattr(explanation, key)):.1e}" for key in ("logits", "contribution_map")
        )
        files = [path, path.with_suffix(".bin")] if path.is_file() else path.rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file())
    return ["any" if batch else "one", logits, maps, f"{size / 1e6:.2f}", f"{seconds:.0f}"]


def run(form, path, images):
    """The outputs, and whether all images could be given at once."""
    try:
        return RUN[form.name](path, images), True
    except Exception:
        outputs = [RUN[form.name](path, image[np.newaxis]) for image in images]
        return {key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}, False


def error(got, want):
    """The largest difference, relative to the largest value."""
    return np.abs(got - want).max() / np.abs(want).max()


if __name__ == "__main__":
    main()
