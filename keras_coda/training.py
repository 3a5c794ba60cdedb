"""From a recipe to a preset."""

import pathlib

import keras
import numpy as np

from keras_coda import backend, data, presets
from keras_coda.data.batches import Batches
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet
from keras_coda.models.replica import Replica
from keras_coda.presets.folder import check_target

# How many test images `evaluate` explains: all contributions of a whole test set need not fit in memory.
EXPLAINED = 512


def train(recipe, directory, epochs=None, overwrite=False, verbose=1, devices=None, start=None):
    """Train a `CoDANet` by a recipe and save it as a preset, with what it reaches on held-out images.

    The state of the training is kept beside the preset after every epoch, in a folder that is removed at the end:
    when the training is interrupted, the same call goes on from there.

    On several devices every batch is shared among them, and gradients and logs are those of the whole batch. This
    takes `keras.distribution.DataParallel` on JAX, `tf.distribute` on TensorFlow, and DDP on PyTorch. There a device is
    a process: torchrun starts them, or this function does, for which a script needs its `if __name__ == "__main__":`.
    One process writes and prints; all must see the folder of the state.

    Args:
        recipe: a `keras_coda.recipes.Recipe`.
        directory: path of the preset folder to write.
        epochs: integer, in place of the recipe's.
        overwrite: whether to replace a preset that is there already.
        verbose: as in `keras.Model.fit`: 1 shows progress bars, 2 a line an epoch, 0 nothing.
        devices: integer, how many GPUs (or without GPUs: JAX' or TensorFlow's CPU devices, or CPU cores on PyTorch), or
            "all". Default: the backend's default device, or, where torchrun (or JAX) started several processes, all.
        start: a preset, see `keras_coda.presets.load`, whose weights the training starts from, such as one of a lower
            temperature. Default: random weights.

    Returns:
        `(model, results)`: the trained `CoDANet` (compiled only where `devices` is not given), and a dict with
        `test_accuracy`, `test_loss`, `test_images`, `epochs` and `completeness_residual`, see `evaluate`.

    Raises:
        ValueError: an unknown data set; `epochs` is not positive; there are not as many devices, or they cannot share
            a batch equally.
        PresetError: `directory` is there, and `overwrite` is false; there is no preset `start`, or its weights are not
            those of the recipe's network.

    Example:

    >>> model, results = keras_coda.train(keras_coda.recipes.load("xs_coda_digits"), "my_digits", devices=2)
    """
    epochs = recipe.epochs if epochs is None else epochs
    if epochs < 1:
        raise ValueError(f"`epochs` must be positive. Received: {epochs}")
    devices = _device_count(devices, recipe.batch_size)
    directory = pathlib.Path(directory)
    check_target(directory, overwrite)
    dataset = data.load(recipe.dataset)
    state = directory.with_name(f"{directory.name}.training")
    weights = None if start is None else _weights_of(start, recipe, dataset)
    arguments = (recipe, state, epochs, verbose, devices, weights)
    if devices is None:
        model = _fit(*arguments)
    else:
        weights = backend.run_on(devices, _fitted_weights, *arguments)
        model = _network(CoDANet, recipe, dataset)
        model.set_weights(weights)
    results = evaluate(model, dataset)
    if _is_first_process():
        presets.save(
            model,
            directory,
            name=recipe.name,
            description=recipe.description,
            dataset=recipe.dataset,
            classes=dataset.classes,
            image_shape=dataset.x_train.shape[1:],
            results={**results, "epochs": epochs},
            license="Apache-2.0",
            overwrite=overwrite,
        )
    return model, results


def _is_first_process():
    return backend.process()[0] == 0


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


def _network(network, recipe, dataset):
    image_shape = (None, None, dataset.x_train.shape[-1])
    return network(**recipe.model, image_shape=image_shape, data_format="channels_last", name=recipe.name)


class _Backup(keras.callbacks.BackupAndRestore):
    """The state of a training, which all processes read and one writes."""

    def __init__(self, directory, writes):
        super().__init__(directory, double_checkpoint=True, delete_checkpoint=writes)
        self._writes = writes

    def on_epoch_end(self, epoch, logs=None):
        # All processes of JAX must make the same variables: those of the model when it is first used after an epoch,
        # but not those that Keras makes only to save it.
        if self.model is not None and self._writes:
            distribution = keras.distribution.distribution()
            keras.distribution.set_distribution(None)
            super().on_epoch_end(epoch, logs)
            keras.distribution.set_distribution(distribution)


def _weights_of(preset, recipe, dataset):
    """The weights of a preset, for the network of a recipe."""
    weights = presets.load(preset).get_weights()
    shapes = [array.shape for array in weights]
    expected = [variable.shape for variable in _network(CoDANet, recipe, dataset).weights]
    if shapes != expected:
        raise presets.PresetError(
            f"The weights of {preset} are not those of the network of recipe {recipe.name!r}. Expected weights of "
            f"shapes {expected}. Received: {shapes}"
        )
    return weights


def _fit(recipe, state, epochs, verbose, devices, weights=None):
    dataset = data.load(recipe.dataset)
    images, labels, batch_size = dataset.x_train, dataset.y_train, recipe.batch_size
    keras.utils.set_random_seed(recipe.seed)
    model = _network(CoDANet if devices is None else Replica, recipe, dataset)
    if weights is not None:
        model.set_weights(weights)
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * -(-len(images) // batch_size))
    model.compile(keras.optimizers.Adam(schedule), OneVsRestCrossentropy(), weighted_metrics=["accuracy"])
    first = _is_first_process()
    callbacks = [_Backup(state, writes=first), keras.callbacks.TerminateOnNaN(raise_error=True)]
    common = {"epochs": epochs, "callbacks": callbacks, "verbose": verbose if first else 0}
    if devices is None:
        model.fit(images, labels, batch_size=batch_size, **common)
    else:
        batches = Batches(images, labels, batch_size, devices, backend.process(), recipe.seed)
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch)))
        model.fit(batches, shuffle=False, **common)
    return model


def _fitted_weights(*arguments):
    return _fit(*arguments).get_weights()


def evaluate(model, dataset):
    """Accuracy and loss on a data set's test images, and how complete explanations are.

    Returns:
        A dict of numbers: `test_images`, `test_accuracy`, `test_loss` (as in training) and `completeness_residual`,
        the largest `Explanation.relative_residual` of any class of the first 512 test images.
    """
    logits = model.predict(dataset.x_test, verbose=0)
    explanation = model.explain(dataset.x_test[:EXPLAINED], "all")
    return {
        "test_images": len(dataset.x_test),
        "test_accuracy": float(np.mean(np.argmax(logits, axis=-1) == dataset.y_test)),
        "test_loss": float(OneVsRestCrossentropy()(dataset.y_test, logits)),
        "completeness_residual": float(np.max(explanation.relative_residual)),
    }
