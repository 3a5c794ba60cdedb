"""Train variations of a recipe on a part of its data, and compare their results. So the modern recipes were chosen.

    KERAS_BACKEND=torch python scripts/compare_trainings.py xs_coda_cifar10 --images 10000 --epochs 5 \
        --change '{"batch_size": 256, "optimizer": {"name": "adamw"}}' --change '{"learning_rate": 0.008}'

A change is a JSON object of entries of a recipe (see keras_coda.recipes.Recipe). Prints a Markdown table. Each is
trained once, from one seed, so that small differences mean nothing.
"""

import argparse
import dataclasses
import json
import pathlib
import tempfile
import time

import keras

import keras_coda
from keras_coda.data import dataset as datasets
from keras_coda.training import Options, fitting


def part(dataset, images, tests):
    """The first images of each part of a data set."""
    return dataset._replace(
        x_train=dataset.x_train[:images],
        y_train=dataset.y_train[:images],
        x_test=dataset.x_test[:tests],
        y_test=dataset.y_test[:tests],
    )


def measured(recipe, dataset, epochs):
    """Accuracy and loss on the test images, and the seconds that the training took."""
    with tempfile.TemporaryDirectory() as folder:
        run = fitting.Run(recipe, pathlib.Path(folder, "state"), Options(epochs=epochs, verbose=2))
        began = time.monotonic()
        model, fitted = fitting.fit(run, dataset)
        seconds = time.monotonic() - began
    results = keras_coda.training.score(model, dataset)
    return results["test_accuracy"], results["test_loss"], seconds, fitted.finite


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a name or JSON file")
    parser.add_argument("--images", type=int, default=10_000, help="to train on (default: %(default)s)")
    parser.add_argument("--tests", type=int, default=2_000, help="to test on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--change", type=json.loads, action="append", default=[{}], help="JSON object, repeatable")
    arguments = parser.parse_args()

    recipe = keras_coda.recipes.load(arguments.recipe)
    dataset = part(datasets.load(recipe.dataset), arguments.images, arguments.tests)
    print(f"{len(dataset.x_train)} images, {len(dataset.x_test)} tests, {keras.backend.backend()} backend\n")
    print("| change | accuracy | loss | s | finite |\n| --- | --- | --- | --- | --- |", flush=True)
    for change in arguments.change:
        values = measured(dataclasses.replace(recipe, **change), dataset, arguments.epochs or recipe.epochs)
        print("| {} | {:.1%} | {:.4f} | {:.0f} | {} |".format(json.dumps(change), *values), flush=True)


if __name__ == "__main__":
    main()
