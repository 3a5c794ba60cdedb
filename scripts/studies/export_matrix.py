"""Print the table of docs/export.md: errors, sizes and times of exported networks, written with the active backend.

    KERAS_BACKEND=torch python scripts/studies/export_matrix.py --networks digits colour

Every file takes any number of images, and of any size unless `--one-size` is given. Its own runtime runs it on images
of two sizes. A line is printed as soon as it is measured. Times are CPU times of the process, summed over its threads,
so other programs do not count.
"""

import argparse
import functools
import pathlib
import shutil
import sys
import tempfile
import time
import warnings

import keras
import numpy as np

import keras_coda
from keras_coda.exporting import FORMATS, metadata_of

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "exporting"))
from clients import LOAD

HEADER = ["format", "backend", "network", "weights", "logits", "maps", "MB", "ms file", "s to write"]


def hybrid():
    stem = keras_coda.models.ResNet56(blocks=3)
    cut = [layer.name for layer in stem.layers if isinstance(layer, keras.layers.Add)][5]
    return keras_coda.models.hybrid(stem, cut, [32, 10], [3, 1], [32, 32], temperature=100.0)


def residual():
    inputs = keras.Input((None, None, 3))
    x = keras_coda.DAUConv2D(32, 3, 32, strides=2, padding="symmetric")(keras_coda.layers.InputEncoding()(inputs))
    for _ in range(2):
        x = keras.layers.Add()([x, keras_coda.DAUConv2D(32, 3, 32, padding="symmetric")(x)])
    x = keras_coda.DAUConv2D(10, 1, 32)(x)
    return keras.Model(
        inputs, keras_coda.layers.LogitScaling(100.0)(keras_coda.layers.SumPooling2D()(x)), name="residual"
    )


# Each with a function that makes it, the shape of its images and their number.
NETWORKS = {
    "digits": (lambda: keras_coda.presets.load("xs_coda_digits"), (16, 16, 1), 5),
    "colour": (lambda: keras_coda.presets.load("xs_coda_cifar10"), (32, 32, 3), 5),
    "s": (lambda: keras_coda.presets.load("s_coda_cifar10"), (32, 32, 3), 2),
    "hybrid": (hybrid, (32, 32, 3), 5),
    "residual": (residual, (32, 32, 3), 5),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=[*FORMATS])
    parser.add_argument("--explain", choices=["predicted", "all"], default="predicted")
    parser.add_argument("--one-size", action="store_true", help="write files for images of one size")
    settings = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("| " + " | ".join(HEADER) + " |\n|" + " --- |" * len(HEADER))
    for network in settings.networks:
        make, shape, count = NETWORKS[network]
        keras.utils.set_random_seed(0)
        model = make()
        images = np.random.default_rng(0).random((count, *shape), "float32")
        predict = milliseconds(functools.partial(model.predict, verbose=0), images)
        explain = milliseconds(functools.partial(explained, model, settings.explain), images)
        for name in settings.formats:
            for row in rows(model, FORMATS[name], images, settings):
                print("| " + " | ".join([name, keras.backend.backend(), network, *row]) + " |", flush=True)
        print(f"{network}: ms an image of predict {predict:.1f}, of explain {explain:.1f}", file=sys.stderr, flush=True)


def rows(model, form, images, settings):
    """Yield the last cells of each row of a format: weights, relative errors, size of the file, times."""
    explain = settings.explain
    shape = images.shape[1:] if settings.one_size else (None, None, images.shape[-1])
    other_images = images[:2] if settings.one_size else images[:2, :-3, :-6]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"model{form.suffix}")
        for weights in form.weights:
            start = time.process_time()
            try:
                if form.name == "onnx" and weights != "float32":
                    # The graph is the same for all weights. Only the last step of `export` is repeated.
                    full = path.with_name("full.onnx")
                    if weights == form.weights[1]:
                        shutil.move(path, full)
                    shutil.copyfile(full, path)
                    form.load().finish(path, {**metadata_of(full), "weights": weights})
                else:
                    keras_coda.export(model, path, explain, image_shape=shape, weights=weights)
                seconds = time.process_time() - start
                run = LOAD[form.name](path)
                errors = error(run, model, images, explain)
                other = error(run, model, other_images, explain)
                errors = [max(pair) for pair in zip(errors, other, strict=True)]
                took = milliseconds(run, images)
            except Exception as refusal:
                yield [weights, "refused", f"{type(refusal).__name__}: {str(refusal).splitlines()[0]}", *[""] * 3]
                break
            files = [path, *path.parent.glob("*.data")] if path.is_file() else path.rglob("*")
            size = sum(file.stat().st_size for file in files if file.is_file())
            cells = [*(f"{e:.1e}" for e in errors), f"{size / 1e6:.2f}", f"{took:.1f}", f"{seconds:.0f}"]
            yield [weights, *cells]


def error(run, model, images, explain):
    """The largest error of the logits and of the maps, each relative to the largest value."""
    got, want = run(images), explained(model, explain, images)
    pairs = [(got[key], getattr(want, key)) for key in ("logits", "contribution_map")]
    return [np.abs(one - other).max() / np.abs(other).max() for one, other in pairs]


def explained(model, explain, images):
    return keras_coda.explain(model, images, None if explain == "predicted" else "all")


def milliseconds(run, images):
    """CPU time per image in ms: the best of three runs, after a first one that may compile."""
    run(images)
    times = []
    for _ in range(3):
        start = time.process_time()
        run(images)
        times.append(time.process_time() - start)
    return min(times) / len(images) * 1e3


if __name__ == "__main__":
    main()
