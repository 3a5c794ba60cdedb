"""The training loop, as each process of a training runs it."""

import dataclasses
import math
import pathlib
import time
from typing import NamedTuple

import keras

from keras_coda import backend
from keras_coda.data.augmentation import Augmentation
from keras_coda.data.batches import Batches
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet, transfer
from keras_coda.recipes import Recipe
from keras_coda.training import logs, time_limit
from keras_coda.training.callbacks import Callbacks, StopOnNaN
from keras_coda.training.replica import Replica
from keras_coda.training.schedule import learning_rate
from keras_coda.training.state import State


@dataclasses.dataclass(frozen=True)
class Run:
    """The arguments of `keras_coda.train`; see there."""

    recipe: Recipe
    epochs: int
    state: pathlib.Path
    start: str | None = None
    weights: list | None = None
    devices: int | None = None
    verbose: int = 1
    logs: pathlib.Path | None = None
    tensorboard: bool = False
    limit_minutes: float | None = None
    began: float = 0.0

    @property
    def plan(self):
        """All that decides the weights that come out, but for the data, the backend and the machine."""
        plan = {"recipe": dataclasses.asdict(self.recipe), "epochs": self.epochs, "start": self.start}
        return {**plan, "limit_minutes": self.limit_minutes}

    @property
    def deadline(self):
        """By `time.monotonic()`; `None` for no limit."""
        return None if self.limit_minutes is None else self.began + 60 * self.limit_minutes


class Fitted(NamedTuple):
    """How a training ended.

    Attributes:
        epochs: how many the weights have been trained for; a fraction where the time was up.
        finite: whether the loss was finite. If not, the weights are those after the last whole epoch before.
    """

    epochs: float
    finite: bool


def network(kind, recipe, dataset, dtype=None):
    """The untrained network of a recipe, of the class `kind`.

    Raises:
        ValueError: the recipe describes none.
    """
    arguments = {
        "image_shape": (None, None, dataset.x_train.shape[-1]),
        "data_format": "channels_last",
        "name": recipe.name,
        "dtype": dtype or recipe.dtype,
        **recipe.model,
    }
    try:
        if "size" in arguments:
            return kind.from_size(arguments.pop("size"), len(dataset.classes), **arguments)
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"The recipe {recipe.name!r} describes no network of keras_coda: {error}. Received: model={recipe.model}"
        ) from error


def optimizer(recipe, steps):
    """The optimizer of a recipe, for a training of so many steps.

    Raises:
        ValueError: an unknown optimizer or schedule, or arguments that it does not take.
    """
    arguments = dict(recipe.optimizer)
    try:
        rate = learning_rate(recipe.learning_rate, recipe.epochs, steps, **recipe.schedule)
        return type(keras.optimizers.get(arguments.pop("name")))(rate, **arguments)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"The recipe {recipe.name!r} names no optimizer of Keras or no schedule of keras_coda: {error}. "
            f"Received: optimizer={recipe.optimizer}, schedule={recipe.schedule}"
        ) from error


def augmentation(recipe):
    """The `Augmentation` of a recipe.

    Raises:
        ValueError: it is none.
    """
    try:
        return Augmentation(**recipe.augmentation)
    except TypeError as error:
        raise ValueError(
            f"The recipe {recipe.name!r} names no augmentation of keras_coda: {error}. Received: {recipe.augmentation}"
        ) from error


def fit(run, dataset, others=()):
    """Train, from the last state where there is one.

    Args:
        run: the `Run`.
        dataset: the `data.Dataset`.
        others: more callbacks.

    Returns:
        `(model, fitted)`: the compiled network, and the `Fitted`.
    """
    backend.keep_compiled()
    recipe, first = run.recipe, backend.process()[0] == 0
    batches = Batches(
        dataset.x_train,
        dataset.y_train,
        recipe.batch_size,
        run.devices or 1,
        backend.process(),
        recipe.seed,
        augmentation(recipe),
    )
    model = _started(run, dataset)
    # After the network, which all processes make together: until then the first may still be writing its last state.
    state = State(run.state, run.plan, writes=first)
    deadline = None if run.limit_minutes is None else run.deadline - _seconds_after(model, recipe, dataset)
    if state.steps is None:
        state.steps = run.epochs * len(batches)
        if deadline is not None:
            state.steps = min(state.steps, _steps_in_time(run, dataset, batches, deadline))
    _compile(model, recipe, state.steps)
    state.restore(model)

    epochs = math.ceil(state.steps / len(batches))
    count = time_limit.StopAfter(state.steps, state.epoch * len(batches), deadline)
    watch = StopOnNaN()
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch)),
        watch,
        count,
        state,
        *others,
    ]
    if run.logs is not None and first:
        callbacks += _logs(run, dataset, state, epochs, watch)
    if state.epoch < epochs:
        callbacks = Callbacks(callbacks, model, run.verbose if first else 0, epochs, len(batches))
        model.fit(batches, epochs=epochs, initial_epoch=state.epoch, shuffle=False, callbacks=callbacks)
    if not watch.finite:
        state.restore(model)
    trained = count.done / len(batches) if watch.finite else state.epoch
    return model, Fitted(int(trained) if trained == int(trained) else trained, watch.finite)


def fitted_weights(*arguments):
    """What `fit` returns, with the weights in the place of the network, which does not leave its process."""
    model, fitted = fit(*arguments)
    return model.get_weights(), fitted


def _started(run, dataset):
    """The network that training starts from."""
    keras.utils.set_random_seed(run.recipe.seed)
    model = network(CoDANet if run.devices is None else Replica, run.recipe, dataset)
    if run.weights is not None:
        model.set_weights(run.weights)
    transfer.freeze(model, run.recipe.freeze)
    return model


def _compile(model, recipe, steps):
    model.compile(optimizer(recipe, steps), OneVsRestCrossentropy(), weighted_metrics=["accuracy"])


def _logs(run, dataset, state, epochs, watch):
    """Callbacks for people to see what goes on."""
    run.logs.mkdir(parents=True, exist_ok=True)
    yield logs.Table(state, run.logs / logs.TABLE)
    if run.tensorboard:
        yield keras.callbacks.TensorBoard(run.logs / "tensorboard", write_graph=False)
    if run.devices is None:
        shown = logs.first_of_each_class(dataset.y_test)
        images, labels = dataset.x_test[shown], dataset.y_test[shown]
        yield logs.Maps(images, labels, dataset.classes, run.logs / logs.MAPS, epochs, watch)


def _seconds_after(model, recipe, dataset):
    """What the evaluation after the training takes: it predicts all test images, and explains about as many logits."""
    return 3 * time_limit.seconds_of_prediction(model, dataset.x_test, recipe.batch_size)


def _steps_in_time(run, dataset, batches, deadline):
    """How many steps can be taken before `deadline`, by measuring some, on a network that is thrown away."""
    model = _started(run, dataset)
    _compile(model, run.recipe, steps=1)
    first, step = time_limit.seconds_of_steps(model, batches)
    left = deadline - time.monotonic() - first
    steps = int(time_limit.PLANNED * left / step)
    if steps < 1:
        raise ValueError(
            f"`limit_minutes` is too short. Expected: time for a step ({step:.2g} s), after {first:.2g} s to compile, "
            f"and for the evaluation ({run.deadline - deadline:.2g} s). Received: {run.limit_minutes}, of which "
            f"{max(left, 0):.2g} s are left for steps"
        )
    return steps
