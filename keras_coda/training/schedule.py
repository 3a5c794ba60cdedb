"""Learning rate schedules."""

import keras
from keras import ops
from keras.optimizers import schedules

DECAYS = ("cosine", "linear", "steps", "none")
BY = ("step", "epoch")


@keras.saving.register_keras_serializable(package="keras_coda")
class WarmUp(schedules.LearningRateSchedule):
    """A schedule with a warm-up: in its first steps the learning rate grows to that of another schedule.

    Kept by hand: of Keras' schedules `CosineDecay` alone has a warm-up.

    Args:
        schedule: the `LearningRateSchedule` after the warm-up. During it, its learning rate is multiplied by a factor
            that grows from `start` to 1.
        steps: number of steps of the warm-up.
        start: first value of the factor, in [0, 1].
        stairs: integer, number of stairs of equal length and height in which the factor grows. The first stair is at
            `start`. Default: it grows with every step.

    Example:

    >>> constant = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 1.0)
    >>> [round(float(WarmUp(constant, steps=4, start=0.0, stairs=2)(step)), 3) for step in range(5)]
    [0.0, 0.0, 0.05, 0.05, 0.1]
    """

    def __init__(
        self, schedule: schedules.LearningRateSchedule, steps: float, start: float = 0.0, stairs: int | None = None
    ) -> None:
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
            # Taken at the middle of the step: at its beginning, rounding could put it on the stair before.
            done = ops.floor((done + 0.5) * self.stairs / self.steps) / self.stairs
        return self.schedule(step) * (self.start + (1.0 - self.start) * ops.minimum(done, 1.0))

    def get_config(self):
        schedule = schedules.serialize(self.schedule)
        return {"schedule": schedule, "steps": self.steps, "start": self.start, "stairs": self.stairs}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "schedule": schedules.deserialize(config["schedule"])})


def learning_rate(
    highest: float,
    epochs: float,
    steps: int,
    decay: str = "cosine",
    factor: float | None = None,
    every: float | None = None,
    warm_up: float = 0,
    start: float = 0.0,
    warm_up_by: str = "step",
) -> schedules.LearningRateSchedule:
    """The learning rate as a schedule over steps.

    The arguments from `decay` on are the entries of a recipe's "schedule". If a training has fewer or more epochs than
    its recipe, the whole schedule is squeezed or stretched.

    Args:
        highest: the learning rate that `decay` starts from.
        epochs: the recipe's number of epochs, the unit of `every` and `warm_up`.
        steps: integer, number of steps of the training.
        decay: "cosine" or "linear", to 0 at the end; "steps", multiplied by `factor` after each `every` epochs; or
            "none".
        factor, every: numbers, for "steps" only.
        warm_up: number of epochs in which the learning rate grows linearly, from `start` times its value by `decay`.
        start: number in [0, 1].
        warm_up_by: "step", the learning rate grows with every step; or "epoch", it stays constant within an epoch of
            the warm-up, at the value of its first step. Then `warm_up` is an integer. In a shorter training the number
            of these stairs stays the same.

    Returns:
        A Keras `LearningRateSchedule`.

    Raises:
        ValueError: the decay or the kind of warm-up is unknown, an argument does not belong to it, or `warm_up` or
            `start` is out of range.

    Example:

    >>> schedule = learning_rate(2.5e-4, epochs=200, steps=625_000, decay="steps", factor=1 / 1.5, every=30)
    """
    if decay not in DECAYS or (decay == "steps") != (factor is not None and every is not None):
        raise ValueError(
            f'`decay` must be one of {DECAYS}. "steps" needs `factor` and `every`, the others take neither. '
            f"Received: decay={decay!r}, factor={factor!r}, every={every!r}"
        )
    if warm_up_by not in BY or (warm_up_by == "epoch" and not (isinstance(warm_up, int) and warm_up > 0)):
        raise ValueError(
            f'`warm_up_by` must be one of {BY}, and with "epoch" `warm_up` must be a positive integer. '
            f"Received: warm_up_by={warm_up_by!r}, warm_up={warm_up!r}"
        )
    if not (warm_up >= 0 and 0 <= start <= 1):
        raise ValueError(
            "`warm_up` must be a number of epochs, and `start` be in [0, 1]. "
            f"Received: warm_up={warm_up!r}, start={start!r}"
        )
    if decay == "cosine":
        schedule = schedules.CosineDecay(highest, steps)
    elif decay == "linear":
        schedule = schedules.PolynomialDecay(highest, steps, end_learning_rate=0.0)
    else:
        factor, every = (factor, every) if decay == "steps" else (1.0, epochs)
        schedule = schedules.ExponentialDecay(highest, every * steps / epochs, factor, staircase=True)  # type: ignore[operator]
    if not warm_up:
        return schedule
    return WarmUp(schedule, warm_up * steps / epochs, start, stairs=int(warm_up) if warm_up_by == "epoch" else None)
