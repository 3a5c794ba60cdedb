"""The training loop, which every process of a training runs."""

import dataclasses
import functools
import hashlib
import math
import pathlib
import re
import time
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_coda import backend
from keras_coda.data.augmentation import Augmentation
from keras_coda.data.batches import Batches
from keras_coda.data.device_images import DeviceImages
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet, transfer
from keras_coda.recipes import Recipe
from keras_coda.training import logs, time_limit
from keras_coda.training.callback_list import Callbacks
from keras_coda.training.options import Options
from keras_coda.training.replica import Replica
from keras_coda.training.resizing import ResizingCoDANet, SetScale, stages_of
from keras_coda.training.schedule import learning_rate
from keras_coda.training.state import State
from keras_coda.training.stop_on_nan import StopOnNaN

# Fewer bytes of training images are kept in a device's memory. TinyImageNet has 1.2e9.
MOST_ON_DEVICE = 2**31


@dataclasses.dataclass(frozen=True)
class Run:
    """A training: what `keras_coda.train` was asked for, checked and loaded.

    Attributes:
        recipe: the `Recipe`.
        state: folder of the `State`.
        options: the `Options`, with `devices` as a number, or `None` for the default device, and `logs` as a
            `pathlib.Path`, or `None`.
        weights: list of arrays that the training starts from. Default: random weights.
        began: `time.monotonic()` at the call, from which a time limit counts.
    """

    recipe: Recipe
    state: pathlib.Path
    options: Options = dataclasses.field(default_factory=Options)
    weights: list[np.ndarray] | None = None
    began: float = 0.0

    @property
    def epochs(self) -> int:
        """Number of epochs: that of the options, or the recipe's."""
        return self.recipe.epochs if self.options.epochs is None else self.options.epochs

    @property
    def devices(self) -> Any:
        """Number of devices that share a batch; `None` for the default device."""
        return self.options.devices

    @property
    def plan(self) -> dict[str, Any]:
        """Everything that decides the final weights, apart from the images, the backend and the machine."""
        start = None if self.options.start is None else str(self.options.start)
        plan = {"recipe": dataclasses.asdict(self.recipe), "epochs": self.epochs, "start": start}
        return {**plan, "limit_minutes": self.options.limit_minutes}

    @property
    def deadline(self) -> float | None:
        """When the training has to be over, by `time.monotonic()`; `None` for no limit."""
        limit = self.options.limit_minutes
        return None if limit is None else self.began + 60 * limit


class Fitted(NamedTuple):
    """How a training ended.

    Attributes:
        epochs: number of epochs that the weights were trained for; a fraction if time ran out within an epoch.
        finite: whether the loss stayed finite. If not, the weights are those after the last whole epoch before.
    """

    epochs: float
    finite: bool


def network(kind, recipe, dataset, dtype=None):
    """The untrained network of a recipe, an object of the class `kind`.

    Raises:
        ValueError: the recipe's "model" are no arguments of a network, or it has another number of outputs than the
            data have classes.
    """
    arguments = {
        "image_shape": (None, None, dataset.x_train.shape[-1]),
        "data_format": "channels_last",
        # The characters that TensorFlow takes. The preset's metadata have the recipe's own name.
        "name": re.sub("[^A-Za-z0-9_.-]", "_", recipe.name).lstrip("_-") or "coda_net",
        "dtype": dtype or recipe.dtype,
        **recipe.model,
    }
    try:
        if "size" in arguments:
            model = kind.from_size(arguments.pop("size"), len(dataset.classes), **arguments)
        else:
            model = kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"The recipe {recipe.name!r} describes no network of keras_coda: {error}. Received: model={recipe.model}"
        ) from error
    if model.classes != len(dataset.classes):
        raise ValueError(
            f"The last layer of recipe {recipe.name!r} must have {len(dataset.classes)} filters, one for each class of "
            f"{recipe.dataset}. Received: filters={model.filters}"
        )
    return model


def optimizer(recipe, steps):
    """The optimizer of a recipe, for a training of `steps` steps.

    Raises:
        ValueError: the optimizer or the schedule is unknown, or does not take its arguments.
    """
    arguments = dict(recipe.optimizer)
    try:
        rate = learning_rate(recipe.learning_rate, recipe.epochs, steps, **recipe.schedule)
        default = keras.optimizers.get(arguments.pop("name"))
        texts = [
            name
            for name, value in arguments.items()
            if isinstance(value, str) and not isinstance(getattr(default, name, None), str)
        ]
        if texts:  # Keras would notice in the first step, or not at all.
            raise TypeError(f"{texts} must be numbers")
        return type(default)(rate, **arguments)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"The recipe {recipe.name!r} names no optimizer of Keras or no schedule of keras_coda: {error}. "
            f"Received: optimizer={recipe.optimizer}, schedule={recipe.schedule}"
        ) from error


def augmentation(recipe):
    """The `Augmentation` of a recipe.

    Raises:
        ValueError: the recipe's "augmentation" are no arguments of it.
    """
    try:
        return Augmentation(**recipe.augmentation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The recipe {recipe.name!r} names no augmentation of keras_coda: {error}. Received: {recipe.augmentation}"
        ) from error


def fit(run, dataset, others=()):
    """Train, starting from the last saved state if there is one.

    Args:
        run: the `Run`.
        dataset: the `data.Dataset`.
        others: further callbacks.

    Returns:
        `(model, fitted)`: the compiled network, and the `Fitted`.
    """
    backend.keep_compiled()
    recipe, first = run.recipe, backend.process()[0] == 0
    batches = Batches(
        DeviceImages(dataset.x_train) if _fit_on_device(run, dataset.x_train) else dataset.x_train,
        dataset.y_train,
        recipe.batch_size,
        run.devices or 1,
        backend.process(),
        recipe.seed,
        augmentation(recipe),
    )
    # Keras' progress bar begins after the first step, which on JAX can take a minute.
    say = functools.partial(print, flush=True) if first and run.options.verbose else lambda line: None
    model = _started(run, dataset)
    # Replicas wait for each other in `_started`, so the first has finished writing when the others read the state.
    labels = hashlib.sha256(np.asarray(dataset.y_train, "<i8").tobytes()).hexdigest()
    of_data = {"images": len(dataset.y_train), "classes": [*dataset.classes], "labels_sha256": labels}
    state = State(run.state, {**run.plan, **of_data}, writes=first)
    if run.deadline is not None:
        say(f"Timing a few steps, of which to fit as many as possible into {run.options.limit_minutes:g} minutes")
    deadline = None if run.deadline is None else run.deadline - _seconds_after(model, recipe, dataset)
    if state.steps is None:
        state.steps = run.epochs * len(batches)
        if deadline is not None:
            state.steps = min(state.steps, _steps_in_time(run, dataset, batches, deadline))
    _compile(model, optimizer(recipe, state.steps))
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
    if run.options.logs is not None and first:
        callbacks += _logs(run, dataset, state, epochs, watch)
    if recipe.stages:
        stages = [*stages_of(recipe.stages, epochs)]
        for stage in stages:
            say(f"Epochs {stage.first + 1} to {stage.end}: images of {stage.scale:g} times their height and width")
        callbacks.append(SetScale(stages))
    if state.epoch < epochs:
        say(f"Training: {state.steps:,} steps of {recipe.batch_size} images, epochs: {state.steps / len(batches):.3g}")
        callbacks = Callbacks(callbacks, model, run.options.verbose if first else 0, epochs, len(batches))
        pipeline = backend.input_pipeline(batches)
        model.fit(pipeline, epochs=epochs, initial_epoch=state.epoch, shuffle=False, callbacks=callbacks)
    if not watch.finite:
        state.restore(model)
    # `fit` ends with this, but not for restored weights: averages of weights (`use_ema`) take their place.
    model.optimizer.finalize_variable_values(model.trainable_weights)
    trained = count.done / len(batches) if watch.finite else state.epoch
    return model, Fitted(int(trained) if trained == int(trained) else trained, watch.finite)


def _fit_on_device(run, images):
    """Whether the training images are to be kept on the device, with the crops and flips made there."""
    return (
        isinstance(images, np.ndarray)
        and images.dtype in ("uint8", "float32")
        and images.nbytes < MOST_ON_DEVICE
        and run.devices is None
        and run.recipe.augmentation.get("rand_augment") is None
        and backend.takes_device_batches
        and not backend.runs_on_cpu()
    )


def fitted_weights(*arguments):
    """`fit`, with the weights in place of the network, which cannot leave its process."""
    model, fitted = fit(*arguments)
    return model.get_weights(), fitted


def _started(run, dataset):
    """The network before the first step."""
    keras.utils.set_random_seed(run.recipe.seed)
    kind = CoDANet if not run.recipe.stages else ResizingCoDANet
    model = network(kind if run.devices is None else Replica, run.recipe, dataset)
    if run.weights is not None:
        model.set_weights(run.weights)
    transfer.freeze(model, run.recipe.freeze)
    if run.devices is not None:
        model.share_gradients()
    return model


def _compile(model, by):
    model.compile(by, OneVsRestCrossentropy(), weighted_metrics=["accuracy"])


def _logs(run, dataset, state, epochs, watch):
    """The callbacks that write logs."""
    folder = run.options.logs
    folder.mkdir(parents=True, exist_ok=True)
    yield logs.Table(state, folder / logs.TABLE)
    if run.options.tensorboard:
        yield keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)
    if run.devices is None and logs.can_draw():
        shown = logs.first_of_each_class(dataset.y_test)
        images, labels = dataset.x_test[shown], dataset.y_test[shown]
        yield logs.Maps(images, labels, dataset.classes, folder / logs.MAPS, epochs, watch)


def _seconds_after(model, recipe, dataset):
    """An estimate for `score`, in seconds: it predicts all test images, and explains about as many logits."""
    return 3 * time_limit.seconds_of_prediction(model, dataset.x_test, recipe.batch_size)


def _steps_in_time(run, dataset, batches, deadline):
    """How many steps fit before `deadline`: those of whole epochs if the recipe has stages.

    A few are timed, on a network that is then discarded.
    """
    model, timed = _started(run, dataset), {}
    for scale in {*(stage["scale"] for stage in run.recipe.stages), 1}:
        model.scale = scale
        _compile(model, optimizer(run.recipe, steps=1))
        timed[scale] = time_limit.seconds_of_steps(model, batches)
    compilation, step = timed[1]
    left = deadline - time.monotonic()
    steps = int(time_limit.PLANNED * (left - compilation) / step)
    if steps < 1:
        raise ValueError(
            f"`limit_minutes` is too short. Expected: time for a step ({step:.2g} s), after {compilation:.2g} s to "
            f"compile, and for the evaluation ({run.deadline - deadline:.2g} s). "
            f"Received: {run.options.limit_minutes}, of which {max(left - compilation, 0):.2g} s are left for steps"
        )
    if not run.recipe.stages:
        return steps

    def needed(epochs):
        stages = ((timed[stage.scale], stage.end - stage.first) for stage in stages_of(run.recipe.stages, epochs))
        return sum(start + count * len(batches) * step / time_limit.PLANNED for (start, step), count in stages)

    epochs = next((epochs for epochs in range(run.epochs, 0, -1) if needed(epochs) <= left), None)
    return steps if epochs is None else epochs * len(batches)
