"""From a recipe to a preset."""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_coda import backend, data, presets
from keras_coda.checks import check_positive
from keras_coda.layers.unit_range import check_unit_range
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet, transfer
from keras_coda.presets.saving import check_target, remove_left
from keras_coda.recipes import Recipe
from keras_coda.settings import settings_of
from keras_coda.training import fitting, logs
from keras_coda.training.options import Options
from keras_coda.training.state import alone, remove

# Number of logits that `score` explains. Predictions and explanations are made in parts, to limit the memory.
EXPLAINED = 5120
PREDICTED_AT_ONCE, EXPLAINED_AT_ONCE = 1024, 16


def train(
    recipe: Recipe, directory: str | os.PathLike, options: Options | None = None, **settings: Any
) -> tuple[CoDANet, dict[str, Any]]:
    """Train a `CoDANet` by a recipe, measure it on held-out images, and save it as a preset.

    The state of the training is saved after every epoch in the folder `directory` + ".training", and removed at the
    end. If the training is interrupted or killed, the same call resumes it, with the same losses as without the
    interruption.

    The loss is read about once a second, so that the device does not wait for the host. JAX keeps compiled programs for
    later trainings in ~/.cache/keras-coda/jax, or in the folder of its own setting.

    On several devices every batch is shared among them. Gradients and logs are those of the whole batch. This uses
    `keras.distribution.DataParallel` on JAX, `tf.distribute` on TensorFlow, and DDP on PyTorch. On PyTorch each device
    has a process, started by torchrun or by this function; in the second case a script needs
    `if __name__ == "__main__":`. One process writes and prints. All must see the folder of the state.

    Args:
        recipe: a `keras_coda.recipes.Recipe`.
        directory: path of the preset folder to write.
        options: `Options`: number of epochs, devices, logs and so on. Default: those of `Options()`.
        settings: any field of `options`, in its place: `epochs=5`.

    Returns:
        `(model, results)`: the trained `CoDANet`, and a dict with `test_accuracy`, `test_loss`, `test_images`, `epochs`
        and `completeness_residual`, see `score`.

    Raises:
        TypeError: `options` is no `Options`, or a setting is no field of it.
        ValueError: the data set, optimizer or schedule is unknown; images are NaN or out of range; `epochs` or
            `limit_minutes` is not positive, or too short; there are fewer devices, or they cannot share a batch
            equally, or (TensorFlow) not with this optimizer or dtype; or the state in the folder is damaged, belongs to
            another training, or is being written by another process; or `directory` or the logs are within the folder
            of the photos.
        PresetError: `directory` exists, and `overwrite` is false; the preset `start` does not exist, or its weights do
            not fit the recipe's network.
        FloatingPointError: the loss became NaN or infinite. The network after the last epoch before that is saved as
            the preset `directory` + ".last_good".
        OSError: the state cannot be written. The last one is kept.
        ImportError: a package that `tensorboard` or the data set needs is not installed.

    Example:

    >>> recipe = keras_coda.recipes.load("xs_coda_digits")
    >>> model, results = keras_coda.train(recipe, "my_digits", logs="my_digits.logs")  # doctest: +SKIP
    """
    began = time.monotonic()
    options = settings_of(Options, options, settings)
    if options.epochs is not None:
        check_positive(epochs=options.epochs)
    devices = _device_count(options.devices, recipe.batch_size)
    limit = options.limit_minutes
    if limit is not None and not (isinstance(limit, (int, float)) and 0 < limit < np.inf and devices is None):
        raise ValueError(
            "`limit_minutes` must be positive and finite, and is for one device. "
            f"Received: limit_minutes={limit!r}, devices={devices}"
        )
    missing = [name for name in ("tensorboard", "tensorflow") if importlib.util.find_spec(name) is None]
    if options.tensorboard and (missing or options.logs is None):
        raise ImportError(
            '`tensorboard` needs a folder of `logs`, and pip install "keras-coda[tensorboard,tensorflow]". '
            f"Received: logs={options.logs}; not installed: {missing}"
        )
    if options.logs is not None and devices is None and not logs.can_draw():
        warnings.warn(
            "The logs get no pictures of contribution maps, since Matplotlib is not installed: "
            'pip install "keras-coda[evaluation]"',
            stacklevel=2,
        )
    directory = pathlib.Path(directory).expanduser()
    if not directory.name:
        raise ValueError(f"`directory` must be the path of a folder to write, with a name. Received: {directory}")
    check_target(directory, options.overwrite)
    state = directory.with_name(f"{directory.name}.training")
    written = None if options.logs is None else pathlib.Path(options.logs).expanduser()
    if written is not None:
        options = dataclasses.replace(options, logs=written)
        if written.resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"`logs` must be outside of the preset's folder, {directory}. Received: {written}")
    if data.dataset.is_photos(recipe.dataset):
        _check_outside(recipe.dataset, directory, state, written)
    # Errors in the recipe are raised before the data set is loaded.
    backend.check_optimizer(fitting.optimizer(recipe, steps=1), recipe.dtype, devices or 1)
    fitting.augmentation(recipe)
    dataset = data.load(recipe.dataset, options.data_dir, recipe.image_shape)
    _check_images(dataset)
    run = fitting.Run(
        recipe=recipe,
        state=state,
        options=dataclasses.replace(options, devices=devices),
        weights=None if options.start is None else _weights_of(options.start, recipe, dataset),
        began=began,
    )
    # The first process holds the lock for all of them.
    with alone(run.state) if backend.process()[0] == 0 else contextlib.nullcontext():
        return _trained(run, dataset, directory)


def _trained(run, dataset, directory):
    """Train, evaluate and save; see `train`."""
    recipe = run.recipe
    if run.devices is None:
        model, fitted = fitting.fit(run, dataset)
        weights = model.get_weights()
    else:
        weights, fitted = backend.run_on(run.devices, fitting.fitted_weights, run, dataset)
    if run.devices is not None or recipe.stages or recipe.dtype != "float32":
        model = fitting.network(CoDANet, recipe, dataset, dtype="float32")
        model.set_weights(weights)
        transfer.freeze(model, recipe.freeze)

    target = directory if fitted.finite else directory.with_name(f"{directory.name}.last_good")
    results = None
    if fitted.finite or fitted.epochs:
        if backend.process()[0] == 0 and run.options.verbose:
            print(f"Measuring the network on {len(dataset.x_test):,} test images", flush=True)
        results = {**score(model, dataset), "epochs": fitted.epochs}
        if backend.process()[0] == 0:
            facts = presets.Facts(
                name=recipe.name,
                description=recipe.description,
                dataset=recipe.dataset,
                classes=dataset.classes,
                image_shape=dataset.x_train.shape[1:],
                results=results,
                license="Apache-2.0" if recipe.dataset in data.dataset.NAMES else None,
            )
            presets.save(model, target, facts, overwrite=run.options.overwrite or not fitted.finite)
            remove_left(target)
    if not fitted.finite:
        kept = f"The network after epoch {fitted.epochs} is the preset {target}" if results else "Nothing was kept"
        raise FloatingPointError(
            f"The loss of {recipe.name} became NaN or infinite in epoch {fitted.epochs + 1}. Expected: a finite one. "
            f"{kept}. A lower learning rate may help, or starting from a preset."
        )
    if backend.process()[0] == 0:
        remove(run.state)
    if len({*dataset.classes}) == len(dataset.classes):
        model.class_names = dataset.classes
    model.image_size = dataset.x_train.shape[1:3]
    return model, results


def _check_outside(photos, *written):
    """Raise a ValueError if a folder to write is within that of the photos, where it would be one more class."""
    for folder in written:
        if folder is not None and folder.resolve().is_relative_to(pathlib.Path(photos).resolve()):
            raise ValueError(
                f"Folders to write must be outside of that of the photos, {photos}, whose folders are classes. "
                f"Received: {folder}"
            )


def _check_images(dataset):
    """Raise a ValueError if arrays of images are out of range. `StoredImages` are decoded to 0..255."""
    for part in ("x_train", "x_test"):
        images = getattr(dataset, part)
        if isinstance(images, np.ndarray):
            try:
                check_unit_range(images)
            except ValueError as error:
                raise ValueError(f"The images {part} cannot be used. {error}") from None


def _device_count(devices, batch_size):
    """The number of devices, or `None` for the default device."""
    processes = backend.process()[1]
    if devices is None and processes == 1:
        return None
    there = backend.device_count()
    count = there if devices in (None, "all") else devices
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= there:
        raise ValueError(f'`devices` must be "all" or 1 to {there}, as many as there are. Received: {devices!r}')
    if processes > 1 and count != there:
        raise ValueError(f"`devices` must be all {there} of the {processes} processes. Received: {devices}")
    if batch_size % count:
        raise ValueError(f"The batch size must be a multiple of the {count} devices. Received: {batch_size}")
    return count


def _weights_of(preset, recipe, dataset):
    """The weights of a preset, for the network of a recipe."""
    classes = None if presets.metadata(preset)["classes"] == list(dataset.classes) else list(dataset.classes)
    # The recipe's seed also decides the random weights of a new last layer.
    keras.utils.set_random_seed(recipe.seed)
    weights = presets.load(preset, classes=classes).get_weights()
    shapes = [array.shape for array in weights]
    expected = [variable.shape for variable in fitting.network(CoDANet, recipe, dataset).weights]
    if shapes != expected:
        raise presets.PresetError(
            f"The weights of {preset} are not those of the network of recipe {recipe.name!r}. "
            f"Expected weights of shapes {expected}. Received: {shapes}"
        )
    return weights


def score(model: CoDANet, dataset: data.Dataset) -> dict[str, Any]:
    """Measure a network on the test images of a data set: accuracy, loss, and completeness of its explanations.

    Args:
        model: a `CoDANet`.
        dataset: a `keras_coda.data.Dataset` of its classes.

    Returns:
        A dict of numbers: `test_images`, `test_accuracy`, `test_loss` (that of the training) and
        `completeness_residual`, the largest `Explanation.relative_residual` over all classes of the first test images,
        5120 logits in total.

    Example:

    >>> keras_coda.training.score(model, keras_coda.data.load("digits"))["test_accuracy"]  # doctest: +SKIP
    """
    count = min(len(dataset.x_test), max(1, EXPLAINED // model.classes))
    predictions = [model.predict(images, verbose=0) for images in _parts(dataset.x_test, PREDICTED_AT_ONCE)]
    logits = np.concatenate(predictions)
    residuals = [
        np.max(model.explain(images, "all").relative_residual)
        for images in _parts(dataset.x_test, EXPLAINED_AT_ONCE, count)
    ]
    return {
        "test_images": len(dataset.x_test),
        "test_accuracy": float(np.mean(np.argmax(logits, axis=-1) == dataset.y_test)),
        "test_loss": float(OneVsRestCrossentropy()(dataset.y_test, logits)),
        "completeness_residual": float(np.max(residuals)),
    }


def _parts(images, size, count=None) -> Iterator[np.ndarray]:
    """The first `count` images (default: all) in arrays of `size`. Stored images are decoded only then."""
    count = len(images) if count is None else count
    return (images[start : min(start + size, count)] for start in range(0, count, size))
