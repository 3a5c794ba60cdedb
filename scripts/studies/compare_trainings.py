"""Train variations of a recipe on a part of its data, and compare their results. So the modern recipes were chosen.

    KERAS_BACKEND=torch python scripts/studies/compare_trainings.py xs_coda_cifar10 --images 10000 --epochs 5 \
        --change '{"batch_size": 256, "optimizer": {"name": "adamw"}}' --change '{"model": {"temperature": 300}}'

A change is a JSON object of entries of a recipe (see keras_coda.recipes.Recipe). Those of "model" are merged into the
recipe's. Prints a Markdown table; with --grids, also the contributions' localisation on grids of 3 x 3 images. Each is
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
from keras_coda import attributions, metrics
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


def changed(recipe, change):
    """The recipe with a change."""
    return dataclasses.replace(recipe, **{**change, "model": {**recipe.model, **change.get("model", {})}})


def measured(recipe, dataset, epochs, grids):
    """Accuracy, loss and localisation on the test images, and the seconds of CPU time that the training took."""
    with tempfile.TemporaryDirectory() as folder:
        run = fitting.Run(recipe, pathlib.Path(folder, "state"), Options(epochs=epochs, verbose=2))
        began = time.process_time()
        model, fitted = fitting.fit(run, dataset)
        seconds = time.process_time() - began
    results = keras_coda.training.score(model, dataset)
    localised = f"{localisation(model, dataset, grids):.3f}" if grids else ""
    return results["test_accuracy"], results["test_loss"], localised, seconds, fitted.finite


def localisation(model, dataset, grids):
    """The mean of the contributions on `grids` grids of test images."""
    made = metrics.make_grids(model, dataset.x_test, dataset.y_test, count=grids)
    maps = attributions.Contributions(model).maps(made.images, made.targets)
    return metrics.localisation(maps, made.size).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a name or JSON file")
    parser.add_argument("--images", type=int, default=10_000, help="to train on (default: %(default)s)")
    parser.add_argument("--tests", type=int, default=2_000, help="to test on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--grids", type=int, default=0, help="for localisation (default: none)")
    parser.add_argument("--change", type=json.loads, action="append", default=[{}], help="JSON object, repeatable")
    arguments = parser.parse_args()

    recipe = keras_coda.recipes.load(arguments.recipe)
    dataset = part(datasets.load(recipe.dataset), arguments.images, arguments.tests)
    print(f"{len(dataset.x_train)} images, {len(dataset.x_test)} tests, {keras.backend.backend()} backend\n")
    print(
        "| change | accuracy | loss | localisation | CPU s | finite |\n| --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    for change in arguments.change:
        epochs = arguments.epochs or recipe.epochs
        values = measured(changed(recipe, change), dataset, epochs, arguments.grids)
        print("| {} | {:.1%} | {:.4f} | {} | {:.0f} | {} |".format(json.dumps(change), *values), flush=True)


if __name__ == "__main__":
    main()
