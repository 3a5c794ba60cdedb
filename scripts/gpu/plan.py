"""The plan of a training: how its time is divided, and the learning rate of each step. Plain numbers."""

import itertools
from typing import NamedTuple

import numpy as np

# Estimated seconds for imports, kernel checks and compilation; for the shortest useful training; and for saving.
BEFORE, LEAST, SAVING = 60, 30, 8
# Share of the remaining time that is planned. The rest is a reserve, as steps may take longer than the measured ones.
PLANNED = 0.97
# Seconds of training that the speed measured before a stage counts for.
TRUSTED = 10


class Stage(NamedTuple):
    """A part of the training: images of `size` x `size` pixels for a `share` of the time."""

    size: int
    share: float


def stages(text, recipe, native):
    """The stages in a text such as "32:0.7,64:0.3", from first to last.

    Args:
        text: string; empty for those of the recipe, if it has any. An image takes time in proportion to its pixels.
        recipe: the `keras_coda.recipes.Recipe`.
        native: integer, the size of the images.

    Raises:
        ValueError: it is not of this form.
    """
    if not text:
        of_recipe = recipe.stages or [{"scale": 1, "share": 1.0}]
        return [Stage(round(s["scale"] * native), s["share"] * s["scale"] ** 2) for s in of_recipe]
    try:
        found = [Stage(int(size), float(share)) for size, share in (part.split(":") for part in text.split(","))]
    except ValueError:
        found = []
    if not found or not all(0 < stage.size <= native and stage.share > 0 for stage in found):
        raise ValueError(
            f"Stages must be SIZE:SHARE,..., of sizes up to {native} and positive shares. Received: {text!r}"
        )
    return found


def check_time(seconds, trials, trial, measuring):
    """Raise an error if the time is too short for a training.

    Args:
        seconds: number, of the whole job.
        trials: integer, number of learning rates to try. A single one is not tried.
        trial: number, seconds of each.
        measuring: number, seconds kept for the measurements at the end.

    Raises:
        ValueError: it is too short.
    """
    needed = BEFORE + (trials * trial if trials > 1 else 0) + LEAST + measuring + SAVING
    if seconds < needed:
        raise ValueError(
            f"Too little time is left to start. Expected: at least {needed:.0f} s: {BEFORE} until the first step, "
            f"{trial:.0f} for each of {trials} learning rates where there are several, {LEAST} of training, "
            f"{measuring:.0f} to measure, {SAVING} to save. Received: {seconds:.0f} s"
        )


def chunk(steps, most):
    """Number of steps in a call to the GPU, at most `most`: an epoch of `steps`, or an equal part of it."""
    return steps // -(-steps // most)


def steps_in(seconds, share, rest, a_step, at_most, of):
    """The number of steps of a stage, a multiple of `of`.

    Args:
        seconds: number, left for this stage and those after it.
        share, rest: shares of the time, of this stage, and of this stage and all after it.
        a_step: number, seconds.
        at_most: integer, largest number of steps.
        of: integer.

    Raises:
        ValueError: there is not time for one call.
    """
    steps = min(int(PLANNED * seconds * share / rest / a_step), at_most) // of * of
    if steps < 1:
        raise ValueError(
            f"Too little time is left for a stage. Expected: at least {of} steps of {a_step:.2g} s. "
            f"Received: {max(seconds, 0) * share / rest:.1f} s"
        )
    return steps


def seconds_a_step(tried, spent, steps):
    """The seconds of a step: at first the measured ones, and later the mean since. The first calls may be slow.

    Args:
        tried: number, seconds of a step, measured before the stage.
        spent, steps: seconds and number of steps since the stage began.
    """
    return (TRUSTED + spent) / (TRUSTED / tried + steps)


class Schedule:
    """The learning rate of a stage: it grows linearly, stays, and falls linearly to 0 at the end of the time.

    Steps may take longer than was measured at the start. So the rest of the stage is planned again before each call.

    Args:
        highest: number, the rate.
        steps: integer, at most, a multiple of `of`.
        of: integer, number of steps in a call.
        warm_up: share of the stage, at its start, in which the rate grows, in [0, 1].
        fall: share of the stage, at its end, in which it falls, in [0, 1].

    Attributes:
        progress: how much of the stage is done when the last call is, from 0 to 1.
    """

    def __init__(self, highest, steps, of, warm_up, fall):
        self.highest, self.steps, self.of, self.warm_up, self.fall = highest, steps, of, warm_up, fall
        self.progress = 0.0

    def rates(self, seconds, a_step):
        """The rate of each step of the next call.

        Args:
            seconds: number, left for the stage.
            a_step: number, seconds that a step takes.

        Returns:
            `(of,)`, float32.
        """
        left = max(self.of, int(min(self.steps, seconds / a_step)) // self.of * self.of)
        done, share = self.progress, (1 - self.progress) * self.of / left
        # Of the middle of each step, so that none is at 0.
        at = done + share * (np.arange(self.of) + 0.5) / self.of
        self.progress, self.steps = 1.0 if left == self.of else done + share, self.steps - self.of
        grown = np.minimum(1, at / self.warm_up) if self.warm_up else 1.0
        fallen = np.minimum(1, (1 - at) / self.fall) if self.fall else 1.0
        return (self.highest * grown * fallen * np.ones(self.of)).astype("float32")


def best(losses):
    """The learning rate with the lowest finite loss, from a dict of losses by learning rate.

    Raises:
        FloatingPointError: none is finite.
    """
    finite = {rate: loss for rate, loss in losses.items() if np.isfinite(loss)}
    if not finite:
        raise FloatingPointError(f"No learning rate led to a finite loss. Expected: lower ones. Received: {losses}")
    return min(finite, key=lambda rate: finite[rate])


def schedule(recipe, fall):
    """`(warm_up, fall)`: the shares of the steps in which the learning rate grows, and in which it falls to 0.

    Raises:
        ValueError: the recipe has a schedule that this program does not support.
    """
    entries = dict(recipe.schedule)
    decay, warm_up = entries.pop("decay", "cosine"), entries.pop("warm_up", 0)
    if fall is None and decay in ("linear", "none"):
        fall = 1.0 if decay == "linear" else 0.0
    unknown = [name for name in entries if entries[name]]
    if fall is None or unknown:
        raise ValueError(
            'Expected: a recipe with the decay "linear" or "none", or --fall, and "warm_up" alone beside it. '
            f"Received: schedule={recipe.schedule}"
        )
    return warm_up / recipe.epochs, fall


def batches(count, shape, seed):
    """An endless iterator over indices `(steps, batch)` of images, one array for each call.

    An epoch has each image once.

    Images that do not fill the last call of an epoch are left out.
    """
    steps, batch = shape
    of_epoch = count // batch // steps * steps * batch
    for epoch in itertools.count():
        order = np.random.default_rng((seed, epoch)).permutation(count)[:of_epoch].astype("int32")
        yield from order.reshape(-1, steps, batch)
