"""From a recipe to a preset."""

import pathlib

import keras
import numpy as np

from keras_coda import data, presets
from keras_coda.losses import OneVsRestCrossentropy
from keras_coda.models import CoDANet
from keras_coda.presets.folder import check_target

# How many test images `evaluate` explains: all contributions of a whole test set need not fit in memory.
EXPLAINED = 512


def train(recipe, directory, epochs=None, overwrite=False, verbose=1):
    """Train a `CoDANet` by a recipe and save it as a preset, with what it reaches on held-out images.

    The state of the training is kept beside the preset after every epoch, in a folder that is removed at the end:
    when the training is interrupted, the same call goes on from there.

    Args:
        recipe: a `keras_coda.recipes.Recipe`.
        directory: path of the preset folder to write.
        epochs: integer, in place of the recipe's.
        overwrite: whether to replace a preset that is there already.
        verbose: as in `keras.Model.fit`: 1 shows progress bars, 2 a line an epoch, 0 nothing.

    Returns:
        `(model, results)`: the trained `CoDANet`, and a dict with `test_accuracy`, `test_loss`, `test_images`,
        `epochs` and `completeness_residual`, see `evaluate`.

    Raises:
        ValueError: an unknown data set, or `epochs` is not positive.
        PresetError: `directory` is there, and `overwrite` is false.

    Example:

    >>> model, results = keras_coda.train(keras_coda.recipes.load("xs_coda_digits"), "my_digits")
    """
    epochs = recipe.epochs if epochs is None else epochs
    if epochs < 1:
        raise ValueError(f"`epochs` must be positive. Received: {epochs}")
    directory = pathlib.Path(directory)
    check_target(directory, overwrite)
    dataset = data.load(recipe.dataset)
    keras.utils.set_random_seed(recipe.seed)
    image_shape = dataset.x_train.shape[1:]
    model = CoDANet(
        **recipe.model, image_shape=(None, None, image_shape[-1]), data_format="channels_last", name=recipe.name
    )
    steps = epochs * -(-len(dataset.x_train) // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), OneVsRestCrossentropy(), metrics=["accuracy"])
    state = directory.with_name(f"{directory.name}.training")
    model.fit(
        dataset.x_train,
        dataset.y_train,
        batch_size=recipe.batch_size,
        epochs=epochs,
        callbacks=[
            keras.callbacks.BackupAndRestore(state, double_checkpoint=True),
            keras.callbacks.TerminateOnNaN(raise_error=True),
        ],
        verbose=verbose,
    )
    results = evaluate(model, dataset)
    presets.save(
        model,
        directory,
        name=recipe.name,
        description=recipe.description,
        dataset=recipe.dataset,
        classes=dataset.classes,
        image_shape=image_shape,
        results={**results, "epochs": epochs},
        license="Apache-2.0",
        overwrite=overwrite,
    )
    return model, results


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
