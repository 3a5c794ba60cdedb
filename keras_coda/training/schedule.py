"""How the learning rate changes during a training."""

import keras
from keras import ops
from keras.optimizers import schedules

DECAYS = ("cosine", "linear", "steps", "none")


@keras.saving.register_keras_serializable(package="keras_coda")
class WarmUp(schedules.LearningRateSchedule):
    """A schedule, of which the first steps take a part that grows linearly.

    Keras' `CosineDecay` has a warm-up of its own; no other schedule has.

    Args:
        schedule: the `LearningRateSchedule`.
        steps: integer, how many steps the warm-up takes.
        start: the part of the schedule's learning rate that it starts from, in [0, 1].

    Example:

    >>> float(WarmUp(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), steps=4, start=0.0)(0))
    0.0
    """

    def __init__(self, schedule, steps, start=0.0):
        super().__init__()
        self.schedule = schedule
        self.steps = steps
        self.start = start

    def __call__(self, step):
        done = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        return self.schedule(step) * (self.start + (1.0 - self.start) * done)

    def get_config(self):
        return {"schedule": schedules.serialize(self.schedule), "steps": self.steps, "start": self.start}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "schedule": schedules.deserialize(config["schedule"])})


def learning_rate(highest, epochs, steps, decay="cosine", factor=None, every=None, warm_up=0, start=0.0):
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

    Returns:
        A Keras `LearningRateSchedule`.

    Raises:
        ValueError: an unknown decay, or arguments that do not belong to it.

    Example:

    >>> schedule = learning_rate(2.5e-4, epochs=200, steps=625_000, decay="steps", factor=1 / 1.5, every=30)
    """
    if decay not in DECAYS or (decay == "steps") != (factor is not None and every is not None):
        raise ValueError(
            f'`decay` must be one of {DECAYS}, and "steps" alone has a `factor` and `every` so many epochs. '
            f"Received: decay={decay!r}, factor={factor!r}, every={every!r}"
        )
    if decay == "cosine":
        schedule = schedules.CosineDecay(highest, steps)
    elif decay == "linear":
        schedule = schedules.PolynomialDecay(highest, steps, end_learning_rate=0.0)
    else:
        factor, every = (factor, every) if decay == "steps" else (1.0, epochs)
        schedule = schedules.ExponentialDecay(highest, every * steps / epochs, factor, staircase=True)
    return WarmUp(schedule, warm_up * steps / epochs, start) if warm_up else schedule
