"""Compare the speed of `keras-coda train` with the bare training step of the same network: a Markdown table.

    KERAS_BACKEND=torch python scripts/train_speed.py

Trains by the recipe s_coda_cifar10 (flip and crop), with batches of --batch, on random images with the shape of
CIFAR-10; and a network with a tenth of S's multiply-adds. After each epoch, `scripts/benchmark.py`'s training step is
timed for the same number of steps, on a second network of the same form. The first epoch of both, which compiles, does
not count. Writing the state after an epoch is not timed.

The last column compares CPU time of all threads, which varies less on a busy machine. It includes the extra work of a
training, but not its waiting times.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time

import keras
import numpy as np
from benchmarks import machine, measure, networks

from keras_coda import recipes
from keras_coda.data import Dataset
from keras_coda.models.sizes import SIZES
from keras_coda.training import Options, fitting

CLASSES = 10
S = {**SIZES["s"], "filters": [*SIZES["s"]["filters"], CLASSES]}
LAYOUTS = {
    "s": S,
    "tenth": {**S, "filters": [8] * 2 + [16] * 3 + [32] * 3 + [CLASSES], "ranks": [13] * 2 + [26] * 7},
}


class Timed(keras.callbacks.Callback):
    """Times each epoch, and after it the same number of bare training steps.

    Attributes:
        training, bare: lists with an array for each epoch: seconds, and seconds of CPU time.
    """

    def __init__(self, layout, batch, dtype):
        super().__init__()
        self.network = networks.build("ours", layout, 32, dtype)
        self.batch = measure.data(32, batch, CLASSES)
        self.training, self.bare = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = clocks()

    def on_epoch_end(self, epoch, logs=None):
        ended = clocks()
        self.training.append(ended - self._began)
        for _ in range(self.params["steps"]):
            measure.training_step(self.network, *self.batch)
        self.bare.append(clocks() - ended)


def clocks():
    return np.array([time.perf_counter(), time.process_time()])


def seconds(layout, batch, steps, rounds, dtype):
    """`(training, bare)`: arrays `(rounds, 2)` of `Timed`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch * steps, 32, 32, 3), "uint8")
    labels = rng.integers(0, CLASSES, batch * steps)
    dataset = Dataset(images, labels, images[:1], labels[:1], [str(label) for label in range(CLASSES)])
    recipe = dataclasses.replace(recipes.load("s_coda_cifar10"), model=layout, batch_size=batch, dtype=dtype)
    timed = Timed(layout, batch, dtype)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run = fitting.Run(recipe, pathlib.Path(folder) / "state", Options(epochs=rounds + 1))
        with contextlib.redirect_stdout(nowhere):  # with the progress bar
            fitting.fit(run, dataset, [timed])
    return np.stack(timed.training[1:]), np.stack(timed.bare[1:])


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
    print("| images a second | training | bare step | ratio (of the rounds) | of processor time |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.network:
        training, bare = seconds(LAYOUTS[name], arguments.batch, arguments.steps, arguments.rounds, arguments.dtype)
        rates = (arguments.batch * arguments.steps / np.median(times[:, 0]) for times in (training, bare))
        ratios = [np.median(ratio) for ratio in (bare / training).T]
        low, high = min((bare / training)[:, 0]), max((bare / training)[:, 0])
        cells = " | ".join(f"{rate:.1f}" for rate in rates)
        print(f"| {name} | {cells} | {ratios[0]:.2f} ({low:.2f} to {high:.2f}) | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
