"""The saved state of a training, from which an interrupted training resumes."""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_coda import files
from keras_coda.files import sha256, written_whole
from keras_coda.recipes import Recipe

# Number of states that are kept.
KEPT = 2
# Its files are named epoch_00001.json and epoch_00001.npz. Others appear for a moment, and stay after a kill.
PARTIAL = ".epoch.partial"
FILES = ("epoch_[0-9]*.json", "epoch_[0-9]*.npz", ".epoch*.partial")


class State(keras.callbacks.Callback):
    """Saves the state of a training after each whole epoch. The last two are kept, each with its SHA-256.

    A state appears whole or not at all: the weights, including the optimizer's, are written before the small file that
    names them.

    Kept by hand: what it adds to `keras.callbacks.BackupAndRestore(double_checkpoint=True)` is that weights and epoch
    change together (a kill between Keras' two files repeats an epoch with other losses), that flipped bits are found,
    that a state of another training is refused, and that a full disk raises an error (HDF5 can end the process).

    Args:
        directory: path of the folder, created if missing.
        plan: dict of JSON data, everything that decides the training. A state with another plan is refused. Entries
            that a state of an older version lacks are not compared, and those of its "recipe" have their defaults.
        writes: whether this process writes. All processes read.

    Attributes:
        epoch: number of epochs that have been trained.
        steps: total number of steps of the training; `None` if there is no state yet, and then set by the caller.
        history: a dict for each epoch with its number, seconds, learning rate after its last step, and logs.

    Raises:
        ValueError: the state in the folder has another plan, or the last one is damaged; or the plan is no JSON data.
        OSError: the folder cannot be written to.
    """

    def __init__(self, directory: pathlib.Path, plan: dict[str, Any], writes: bool = True) -> None:
        super().__init__()
        self.directory = pathlib.Path(directory)
        try:
            # As it is read again: JSON has lists only, no tuples.
            self.plan = json.loads(json.dumps(plan))
        except (TypeError, ValueError) as error:
            raise ValueError(f"A training is described by JSON data: {error}. Received: {plan}") from None
        self.epoch = 0
        self.steps: int | None = None
        self.history: list[dict[str, Any]] = []
        self._writes = writes
        if writes:
            with _explained(self):
                self.directory.mkdir(parents=True, exist_ok=True)
                (self.directory / PARTIAL).touch()
                (self.directory / PARTIAL).unlink()
        if self.last:
            self._read(self.last)

    @property
    def last(self) -> pathlib.Path | None:
        """Path of the JSON file of the last state, or `None`."""
        return next(iter(reversed(self._states())), None)

    def _states(self):
        return sorted(self.directory.glob("epoch_*.json"))

    def _read(self, path):
        weights = path.with_suffix(".npz")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            plan, self.epoch, self.steps, self.history = (content[key] for key in ("plan", "epoch", "steps", "history"))
            former, whole = _entries(plan), sha256(weights) == content["weights_sha256"]
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            whole = False
        if not whole:
            kept = self._states()[:-1]
            start = f"go on from {kept[-1].stem}, which is kept" if kept else "start again"
            raise ValueError(
                f"{path} and {weights.name} are not the state of a training as it was written. "
                f"Expected: both whole. Delete both, and the same command will {start}."
            )
        own = _entries(self.plan)
        differing = sorted(key for key, value in former.items() if value != own.get(key))
        if differing:
            raise ValueError(
                f"{self.directory} holds the state of another training. Expected the same one, to go on with it; or "
                f"delete the folder, or write elsewhere. Received: { {key: own.get(key) for key in differing} }, "
                f"where there is { {key: former[key] for key in differing} }"
            )

    def restore(self, model: keras.Model) -> None:
        """Load the last state into a compiled model and its optimizer. Without a state nothing is done."""
        if self.last:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            with np.load(self.last.with_suffix(".npz"), allow_pickle=False) as arrays:
                for variable, array in zip(_variables(model), arrays.values(), strict=True):
                    variable.assign(array)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self._began, 3)}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.history = [*self.history, {**row, **{name: float(value) for name, value in (logs or {}).items()}}]
        # An epoch that was stopped in the middle is not saved: training resumes from the whole epoch before.
        if not self.model.stop_training:
            self.epoch = epoch + 1
            if self._writes:
                self._write()

    def _write(self):
        path = self.directory / f"epoch_{self.epoch:05d}.json"
        weights = path.with_suffix(".npz")
        partial = self.directory / PARTIAL
        try:
            with _explained(self):
                with open(partial, "wb") as file:
                    np.savez(file, *map(_storable, _variables(self.model)))
                os.replace(partial, weights)
                content = {"plan": self.plan, "steps": self.steps, "epoch": self.epoch, "history": self.history}
                with written_whole(path) as file:
                    json.dump({**content, "weights_sha256": sha256(weights)}, file, indent=1)
                for former in self._states()[:-KEPT]:
                    former.unlink()
                    former.with_suffix(".npz").unlink(missing_ok=True)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(directory: pathlib.Path) -> Iterator[None]:
    """A context that locks the folder of a state for one training.

    Raises:
        ValueError: another training has locked it.
        OSError: the folder cannot be written to.
    """
    locked = contextlib.ExitStack()
    try:
        locked.enter_context(files.alone(directory / ".lock", "training"))
    except OSError as error:
        raise OSError(f"The state of the training cannot be written to {directory}: {error}.") from error
    try:
        with locked:
            yield
    finally:
        with contextlib.suppress(OSError):  # the folder has a state in it, or is gone
            directory.rmdir()


def remove(directory: pathlib.Path) -> None:
    """Remove a state. Other files in its folder stay."""
    for path in (path for pattern in FILES for path in directory.glob(pattern)):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _explained(state):
    """A context whose write errors say which state is kept."""
    try:
        yield
    except OSError as error:
        kept = f"{state.last.stem} is whole, and the same command goes on from it" if state.last else "No state is kept"
        raise OSError(f"The state of the training cannot be written to {state.directory}: {error}. {kept}.") from error


def _entries(plan):
    """The entries of a plan, with those of its recipe as "recipe.seed" and so on."""
    others = {key: value for key, value in plan.items() if key != "recipe"}
    recipe = dataclasses.asdict(Recipe(**plan["recipe"])) if "recipe" in plan else {}
    return {**others, **{f"recipe.{key}": value for key, value in recipe.items()}}


def _storable(variable):
    """A variable as an array that NumPy can save. bfloat16 becomes float32, which loses nothing."""
    array = keras.ops.convert_to_numpy(variable)
    return array.astype("float32") if array.dtype.kind == "V" else array


def _variables(model):
    """All variables that training changes: weights, random states, optimizer. (Metrics are reset every epoch.)"""
    of_metrics = {id(variable) for variable in model.metrics_variables}
    return [*(v for v in model.variables if id(v) not in of_metrics), *model.optimizer.variables]
