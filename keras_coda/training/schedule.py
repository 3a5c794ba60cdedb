"""How the learning rate changes during a training."""

import keras
from keras import ops
from keras.optimizers import schedules

DECAYS = ("cosine", "linear", "steps", "none")
BY = ("step", "epoch")


@keras.saving.register_keras_serializable(package="keras_coda")
class WarmUp(schedules.LearningRateSchedule):
    """A schedule, of which the first steps take a part that grows linearly, or in equal stairs.

    Keras' `CosineDecay` has a warm-up of its own; no other schedule has.

    Args:
        schedule: the `LearningRateSchedule`.
        steps: number, how many steps the warm-up takes.
        start: the part of the schedule's learning rate that it starts from, in [0, 1].
        stairs: integer, in how many stairs of equal length and height it grows. The first is at `start`, the last one
            ends as the warm-up does. Default: with every step.

    Example:

    >>> constant = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 1.0)
    >>> [round(float(WarmUp(constant, steps=4, start=0.0, stairs=2)(step)), 3) for step in range(5)]
    [0.0, 0.0, 0.05, 0.05, 0.1]
    """

    def __init__(self, schedule, steps, start=0.0, stairs=None):
        super().__init__()
        self.schedule = schedule
        self.steps = steps
        self.start = start
        self.stairs = stairs

    def __call__(self, step):
        done = ops.cast(step, "float32")
        if self.stairs is None:
            done = done / self.steps
        else:
            # By the middle of a step: at its beginning, the first one of a stair could be rounded to the stair before.
            done = ops.floor((done + 0.5) * self.stairs / self.steps) / self.stairs
        return self.schedule(step) * (self.start + (1.0 - self.start) * ops.minimum(done, 1.0))

    def get_config(self):
        schedule = schedules.serialize(self.schedule)
        return {"schedule": schedule, "steps": self.steps, "start": self.start, "stairs": self.stairs}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "schedule": schedules.deserialize(config["schedule"])})


def learning_rate(
    highest, epochs, steps, decay="cosine", factor=None, every=None, warm_up=0, start=0.0, warm_up_by="step"
):
    """The learning rate of each step.

    Where a training has fewer or more epochs than its recipe, the whole schedule is squeezed or stretched into it.

    Args:
        highest: the learning rate that `decay` starts from.
        epochs: those of the recipe, in which `every` and `warm_up` are given.
        steps: integer, how many steps the training takes.
        decay: "cosine" or "linear", to 0 at the end; "steps", multiplied by `factor` after every `every` epochs; or
            "none".
        factor, every: numbers, of "steps".
        warm_up: number of epochs in which it grows linearly, from `start` times what `decay` says.
        start: number in [0, 1].
        warm_up_by: "step", it grows with every step; or "epoch", an epoch of the warm-up has one learning rate, that
            of its first step. `warm_up` is an integer then. In fewer epochs than the recipe's, it grows as often.

    Returns:
        A Keras `LearningRateSchedule`.

    Raises:
        ValueError: an unknown decay or kind of warm-up, or arguments that do not belong to it.

    Example:

    >>> schedule = learning_rate(2.5e-4, epochs=200, steps=625_000, decay="steps", factor=1 / 1.5, every=30)
    """
    if decay not in DECAYS or (decay == "steps") != (factor is not None and every is not None):
        raise ValueError(
            f'`decay` must be one of {DECAYS}, and "steps" alone has a `factor` and `every` so many epochs. '
            f"Received: decay={decay!r}, factor={factor!r}, every={every!r}"
        )
    if warm_up_by not in BY or (warm_up_by == "epoch" and not (isinstance(warm_up, int) and warm_up > 0)):
        raise ValueError(
            f'`warm_up_by` must be one of {BY}, and by "epoch" the `warm_up` takes 1, 2, 3, ... epochs. '
            f"Received: warm_up_by={warm_up_by!r}, warm_up={warm_up!r}"
        )
    if decay == "cosine":
        schedule = schedules.CosineDecay(highest, steps)
    elif decay == "linear":
        schedule = schedules.PolynomialDecay(highest, steps, end_learning_rate=0.0)
    else:
        factor, every = (factor, every) if decay == "steps" else (1.0, epochs)
        schedule = schedules.ExponentialDecay(highest, every * steps / epochs, factor, staircase=True)
    if not warm_up:
        return schedule
    return WarmUp(schedule, warm_up * steps / epochs, start, stairs=warm_up if warm_up_by == "epoch" else None)
