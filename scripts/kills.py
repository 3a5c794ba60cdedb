"""Kill a training and an evaluation at random moments, resume them, and compare the results with uninterrupted runs.

    KERAS_BACKEND=torch python scripts/kills.py --kills 100

The training follows a shortened recipe xs_coda_digits. The evaluation measures two methods on the trained preset. A run
is started, killed by `kill -9` after a random time, and started again until it ends by itself. Runs are repeated until
the requested number of kills is reached. Weights, metadata and tables must be equal to the last bit, except for the
measured seconds. No other files may be left. Training draws no pictures, which would take most of the time. The script
needs PyTorch, because a JAX or TensorFlow process cannot be forked.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import h5py
import keras
import numpy as np
import pandas as pd

from keras_coda import cli, data
from keras_coda.data import dataset
from keras_coda.training import logs

RECIPE = {"base": "xs_coda_digits", "name": "short", "model": {"filters": [4, 4, 4, 10], "ranks": [2, 2, 2, 2]}}
EPOCHS, METRICS = 6, ("removal_least_first", "insertion")


def train_command(folder):
    return ["train", str(folder / "short.json"), "--out", str(folder / "preset"), "--epochs", str(EPOCHS)]


def evaluate_command(folder):
    settings = ["--methods", "contributions", "gradient", "--images", "32", "--points", "5"]
    return ["evaluate", str(folder / "preset"), *settings, "--metrics", *METRICS, "--out", str(folder / "evaluation")]


def few_digits(data_dir=None):
    """A tenth of the digits, so that a few seconds hold many epochs."""
    (x_train, y_train), (x_test, y_test) = data.load_digits()
    return data.Dataset(x_train[:144], y_train[:144], x_test[:48], y_test[:48], list("0123456789"))


def started(command, log):
    """Fork this process and run a command in the fork. Returns the process id.

    At this point this process has imported everything and computed nothing.
    """
    process = os.fork()
    if process == 0:
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            status = cli.main(command)
            sys.stdout.flush()
        os._exit(status)
    return process


def ended(process, seconds=None):
    """Wait for a process and return its exit status, or `None` if it is still running after some seconds."""
    until = None if seconds is None else time.monotonic() + seconds
    while until is None or time.monotonic() < until:
        number, status = os.waitpid(process, 0 if until is None else os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def arrays(path):
    """All arrays of an HDF5 file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def table(path):
    return pd.read_csv(path).drop(columns="seconds")


def training(folder):
    """What a training has left: weights, metadata, log and names of files."""
    facts = json.loads((folder / "preset" / "metadata.json").read_text())
    for key in ("weights_sha256", "metadata_sha256"):  # HDF5 files may differ outside the weights
        facts.pop(key)
    left = sorted(path.name for path in folder.iterdir())
    log = table(folder / "preset.logs" / "training.csv").to_csv()
    return arrays(folder / "preset" / "model.weights.h5"), facts, log, left


def evaluation(folder):
    return {}, {}, table(folder / "evaluation" / "results.csv").to_csv(), sorted(os.listdir(folder / "evaluation"))


def same(one, other):
    weights = one[0].keys() == other[0].keys() and all(np.array_equal(one[0][key], other[0][key]) for key in one[0])
    return weights and one[1:] == other[1:]


def kill_at_random(command, seconds, rng, budget, log):
    """Start a command, and restart it after each kill, until it ends by itself. Returns the number of kills."""
    killed = 0
    while True:
        process = started(command, log)
        # Some of these times are longer than a run, so that it can end.
        status = ended(process, rng.uniform(0, 1.3 * seconds) if killed < budget else None)
        if status is None:
            os.kill(process, signal.SIGKILL)
            ended(process)
            killed += 1
            continue
        if status == 0:
            return killed
        # The kill came after the preset was written and before the training's state was removed.
        if "exists" in log.read_text() and "train" in command:
            shutil.rmtree(pathlib.Path(command[3] + ".training"), ignore_errors=True)
            return killed
        raise RuntimeError(log.read_text())


def prepared(folder):
    folder.mkdir()
    (folder / "short.json").write_text(json.dumps(RECIPE))
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills of the training, and as many of the evaluation")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--minutes", type=float, help="stop after this time, with fewer kills")
    arguments = parser.parse_args()
    # Import once for all forks. Keras imports TensorFlow, if it is installed, to set the random seed.
    for module in ("tensorflow", "torch._dynamo", "matplotlib.pyplot"):
        if importlib.util.find_spec(module.split(".")[0]) is not None:
            importlib.import_module(module)
    dataset._LOADERS["digits"] = few_digits
    setattr(logs, "Maps", lambda *arguments: keras.callbacks.Callback())  # noqa: B010
    rng, began, wrong = np.random.default_rng(arguments.seed), time.monotonic(), 0
    until = None if arguments.minutes is None else began + 30 * arguments.minutes
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        whole = prepared(root / "whole")
        for what, command, left in (
            ("training", train_command, training),
            ("evaluation", evaluate_command, evaluation),
        ):
            start, log = time.monotonic(), root / "log"
            status = ended(started(command(whole), log))
            assert status == 0, log.read_text()
            seconds = time.monotonic() - start
            expected = left(whole)
            killed = rounds = equal = 0
            while killed < arguments.kills and (until is None or time.monotonic() < until):
                folder = root / f"{what}{rounds}"
                if what == "training":
                    prepared(folder)
                else:
                    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("evaluation"))
                killed += kill_at_random(command(folder), seconds, rng, arguments.kills - killed, log)
                rounds += 1
                if same(left(folder), expected):
                    equal += 1
                else:
                    wrong += 1
                    print(f"{what} {rounds} differs: {left(folder)[2:]} and {expected[2:]}", flush=True)
                shutil.rmtree(folder)
            print(
                f"{what}: {killed} kills in {rounds} runs of {seconds:.1f} s, {equal} of them equal to the last bit",
                flush=True,
            )
            if until is not None:
                until += 30 * arguments.minutes
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
