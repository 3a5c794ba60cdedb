"""From a recipe to a preset."""

import contextlib
import importlib.util
import pathlib
import shutil
import time

import keras
import numpy as np

from keras_coda import backend, data, presets
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet
from keras_coda.presets.folder import check_target
from keras_coda.training import fitting
from keras_coda.training.state import alone

# How many logits `score` explains; how many images it predicts and explains at once, for the memory.
EXPLAINED = 5120
PREDICTED_AT_ONCE, EXPLAINED_AT_ONCE = 1024, 16


def train(
    recipe,
    directory,
    epochs=None,
    overwrite=False,
    verbose=1,
    devices=None,
    start=None,
    data_dir=None,
    logs=None,
    tensorboard=False,
    limit_minutes=None,
):
    """Train a `CoDANet` by a recipe and save it as a preset, with what it reaches on held-out images.

    The state of the training is kept after every epoch in the folder `directory` + ".training", which is removed at
    the end. When the training is interrupted, however hard, the same call goes on from there, with the losses that it
    would have had.

    The loss is read about once a second, so that the device need not wait for the host. JAX keeps what takes long to
    compile for later trainings, in ~/.cache/keras-coda/jax, or where its own setting says.

    On several devices every batch is shared among them, and gradients and logs are those of the whole batch. This
    takes `keras.distribution.DataParallel` on JAX, `tf.distribute` on TensorFlow, and DDP on PyTorch. There a device is
    a process: torchrun starts them, or this function does, for which a script needs its `if __name__ == "__main__":`.
    One process writes and prints; all must see the folder of the state.

    Args:
        recipe: a `keras_coda.recipes.Recipe`.
        directory: path of the preset folder to write.
        epochs: integer, in place of the recipe's. The learning rate goes through its whole schedule in them.
        overwrite: whether to replace a preset that is there already.
        verbose: as in `keras.Model.fit`: 1 shows progress bars, 2 a line an epoch, 0 nothing.
        devices: integer, how many GPUs (or without GPUs: JAX' or TensorFlow's CPU devices, or CPU cores on PyTorch), or
            "all". Default: the backend's default device, or, where torchrun (or JAX) started several processes, all.
        start: a preset, see `keras_coda.presets.load`, whose weights the training starts from, such as one of a lower
            temperature. If its classes are not called as those of the data, the last layer starts from random weights.
            Default: all do.
        data_dir: see `keras_coda.data.load`.
        logs: path of a folder for training.csv, a row an epoch, and, on one device, for pictures of how the maps of a
            few test images sharpen. Default: none.
        tensorboard: whether `logs` gets those of Keras' `TensorBoard`, too (extra `tensorboard`).
        limit_minutes: number, from the call to the end of the evaluation. A few steps are measured, and the training
            gets as many as fit, at most the recipe's, with the whole schedule in them; where they take longer than
            measured, it stops earlier. For one device.

    Returns:
        `(model, results)`: the trained `CoDANet`, and a dict with `test_accuracy`, `test_loss`, `test_images`, `epochs`
        and `completeness_residual`, see `score`.

    Raises:
        ValueError: an unknown data set, optimizer or schedule; `epochs` or `limit_minutes` is not positive, or too
            short; there are not as many devices, or they cannot share a batch equally; or the state in the folder is
            damaged, or that of another training, or another one writes to it now.
        PresetError: `directory` is there, and `overwrite` is false; there is no preset `start`, or its weights are not
            those of the recipe's network.
        FloatingPointError: the loss became NaN or infinite. The network after the last epoch before that is saved as
            the preset `directory` + ".last_good".
        OSError: the state cannot be written. The last one is kept.
        ImportError: what `tensorboard` or the data set needs is not installed.

    Example:

    >>> recipe = keras_coda.recipes.load("xs_coda_digits")
    >>> model, results = keras_coda.train(recipe, "my_digits", logs="my_digits.logs")  # doctest: +SKIP
    """
    began = time.monotonic()
    epochs = recipe.epochs if epochs is None else epochs
    if epochs < 1:
        raise ValueError(f"`epochs` must be positive. Received: {epochs}")
    devices = _device_count(devices, recipe.batch_size)
    if limit_minutes is not None and not (limit_minutes > 0 and devices is None):
        raise ValueError(
            "`limit_minutes` must be positive, and is for one device. "
            f"Received: limit_minutes={limit_minutes}, devices={devices}"
        )
    missing = [name for name in ("tensorboard", "tensorflow") if importlib.util.find_spec(name) is None]
    if tensorboard and (missing or logs is None):
        raise ImportError(
            '`tensorboard` needs a folder of `logs`, and pip install "keras-coda[tensorboard,tensorflow]". '
            f"Received: logs={logs}; not installed: {missing}"
        )
    directory = pathlib.Path(directory)
    check_target(directory, overwrite)
    # Their errors come before the data do.
    fitting.optimizer(recipe, steps=1)
    fitting.augmentation(recipe)
    dataset = data.load(recipe.dataset, data_dir, recipe.image_shape)
    run = fitting.Run(
        recipe=recipe,
        epochs=epochs,
        state=directory.with_name(f"{directory.name}.training"),
        start=None if start is None else str(start),
        weights=None if start is None else _weights_of(start, recipe, dataset),
        devices=devices,
        verbose=verbose,
        logs=None if logs is None else pathlib.Path(logs),
        tensorboard=tensorboard,
        limit_minutes=limit_minutes,
        began=began,
    )
    # One process has it for all; those that it starts do not ask.
    with alone(run.state) if backend.process()[0] == 0 else contextlib.nullcontext():
        return _trained(run, dataset, directory, overwrite)


def _trained(run, dataset, directory, overwrite):
    """Train, evaluate and save: see `train`."""
    recipe, devices = run.recipe, run.devices
    if devices is None:
        model, fitted = fitting.fit(run, dataset)
        weights = model.get_weights()
    else:
        weights, fitted = backend.run_on(devices, fitting.fitted_weights, run, dataset)
    if devices is not None or recipe.dtype != "float32":
        model = fitting.network(CoDANet, recipe, dataset, dtype="float32")
        model.set_weights(weights)

    target = directory if fitted.finite else directory.with_name(f"{directory.name}.last_good")
    results = None
    if fitted.finite or fitted.epochs:
        results = {**score(model, dataset), "epochs": fitted.epochs}
        if backend.process()[0] == 0:
            presets.save(
                model,
                target,
                name=recipe.name,
                description=recipe.description,
                dataset=recipe.dataset,
                classes=dataset.classes,
                image_shape=dataset.x_train.shape[1:],
                results=results,
                license=None if data.photos.is_folder(recipe.dataset) else "Apache-2.0",
                overwrite=overwrite or not fitted.finite,
            )
    if not fitted.finite:
        kept = f"The network after epoch {fitted.epochs} is the preset {target}" if results else "Nothing was kept"
        raise FloatingPointError(
            f"The loss of {recipe.name} became NaN or infinite in epoch {fitted.epochs + 1}. Expected: a finite one. "
            f"{kept}. A lower learning rate may help, from the beginning or by starting from a preset."
        )
    if backend.process()[0] == 0:
        shutil.rmtree(run.state, ignore_errors=True)
    return model, results


def _device_count(devices, batch_size):
    """`devices` as a number, or `None` for the default device."""
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
    # A new last layer is drawn by the recipe's seed, too.
    keras.utils.set_random_seed(recipe.seed)
    weights = presets.load(preset, classes=classes).get_weights()
    shapes = [array.shape for array in weights]
    expected = [variable.shape for variable in fitting.network(CoDANet, recipe, dataset).weights]
    if shapes != expected:
        raise presets.PresetError(
            f"The weights of {preset} are not those of the network of recipe {recipe.name!r}. Expected weights of "
            f"shapes {expected}. Received: {shapes}"
        )
    return weights


def score(model, dataset):
    """Accuracy and loss on a data set's test images, and how complete explanations are.

    Returns:
        A dict of numbers: `test_images`, `test_accuracy`, `test_loss` (as in training) and `completeness_residual`,
        the largest `Explanation.relative_residual` of any class of the first test images, 5120 logits in all.
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


def _parts(images, size, count=None):
    """The first `count` images, or all, in arrays of `size`: stored images are decoded when they are taken."""
    count = len(images) if count is None else count
    return (images[start : min(start + size, count)] for start in range(0, count, size))
