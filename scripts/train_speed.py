"""How fast `keras-coda train` is, beside the bare training step of the same network: a Markdown table.

    KERAS_BACKEND=torch python scripts/train_speed.py

Trains by the recipe s_coda_cifar10 (flip and crop), with the batch that is asked for, on random images of the shape of
CIFAR-10; and a network of a tenth of S's multiply-adds. After each epoch of the training, `scripts/benchmark.py`'s
training step is timed as often as the epoch had steps, on a second network of the same form. The first epoch of both,
which compiles, is not counted. Writing the state of the training after an epoch is not timed.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
from benchmarks import machine, measure, networks

from keras_coda import recipes
from keras_coda.data import Dataset
from keras_coda.models.sizes import SIZES
from keras_coda.training import fitting

CLASSES = 10
S = {**SIZES["s"], "filters": [*SIZES["s"]["filters"], CLASSES]}
LAYOUTS = {
    "s": S,
    "tenth": {**S, "filters": [8] * 2 + [16] * 3 + [32] * 3 + [CLASSES], "ranks": [13] * 2 + [26] * 7},
}


class Bare(keras.callbacks.Callback):
    """Times the bare training step after each epoch.

    Attributes:
        seconds: list, what as many steps took as an epoch has.
    """

    def __init__(self, layout, batch, dtype):
        super().__init__()
        self.network = networks.build("ours", layout, 32, dtype)
        self.batch = measure.data(32, batch, CLASSES)
        self.seconds = []

    def on_epoch_end(self, epoch, logs=None):
        began = time.perf_counter()
        for _ in range(self.params["steps"]):
            measure.training_step(self.network, *self.batch)
        self.seconds.append(time.perf_counter() - began)


def images_a_second(layout, batch, steps, rounds, dtype):
    """`(training, bare)`: lists of one figure a round."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch * steps, 32, 32, 3), "uint8")
    labels = rng.integers(0, CLASSES, batch * steps)
    dataset = Dataset(images, labels, images[:1], labels[:1], [str(label) for label in range(CLASSES)])
    recipe = dataclasses.replace(recipes.load("s_coda_cifar10"), model=layout, batch_size=batch, dtype=dtype)
    bare = Bare(layout, batch, dtype)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run = fitting.Run(recipe, rounds + 1, pathlib.Path(folder) / "state")
        with contextlib.redirect_stdout(nowhere):  # with the bar that people see
            model, _ = fitting.fit(run, dataset, [table := Seconds(), bare])
    count = batch * steps
    return [count / seconds for seconds in table.seconds[1:]], [count / seconds for seconds in bare.seconds[1:]]


class Seconds(keras.callbacks.Callback):
    """Times the epochs of a training."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = "s, tenth, or both (default)"
    parser.add_argument("--network", choices=list(LAYOUTS), nargs="+", default=list(LAYOUTS), help=text)
    parser.add_argument("--batch", type=int, default=32, help="images in a batch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="in an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs that count (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="dtype policy (default: %(default)s)")
    arguments = parser.parse_args()
    where = machine.gpu() or f"{machine.cores()} cores of {machine.cpu()}"
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {where}, {arguments.dtype}")
    print(f"batches of {arguments.batch}, load average before: {os.getloadavg()[0]:.1f}\n")
    print("| images a second | training | bare step | ratio (of the rounds) |\n| --- | --- | --- | --- |")
    for name in arguments.network:
        training, bare = images_a_second(
            LAYOUTS[name], arguments.batch, arguments.steps, arguments.rounds, arguments.dtype
        )
        ratios = [a / b for a, b in zip(training, bare, strict=True)]
        cells = f"{statistics.median(training):.1f} | {statistics.median(bare):.1f} | {statistics.median(ratios):.2f}"
        print(f"| {name} | {cells} ({min(ratios):.2f} to {max(ratios):.2f}) |", flush=True)


if __name__ == "__main__":
    main()
