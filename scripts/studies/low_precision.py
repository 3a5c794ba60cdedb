"""Train one network in float32, mixed_bfloat16 and mixed_float16 with one seed, and draw the loss of each.

    KERAS_BACKEND=jax python scripts/studies/low_precision.py --out docs/low_precision.png

The data are scikit-learn's handwritten digits, which need no download; the network and its training are those of the
recipe xs_coda_digits. Prints a Markdown table: accuracy, and the errors of explanations in low precision against
those of the same weights in float32.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import keras_coda
from keras_coda import plots

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")


def train(recipe, dtype, epochs):
    """The trained `CoDANet`, its loss after each epoch, and its accuracy on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        recipe, preset = dataclasses.replace(recipe, dtype=dtype), f"{folder}/preset"
        _, results = keras_coda.train(recipe, preset, epochs=epochs, logs=folder, verbose=2)
        losses = pd.read_csv(f"{folder}/training.csv")["loss"]
        return keras_coda.presets.load(preset, dtype=dtype), losses, results["test_accuracy"]


def errors(model, images):
    """Largest errors of logits, contributions and completeness, relative to the largest logit or contribution."""
    low, exact = model.explain(images, "all"), model.explain(images, "all", dtype="float32")
    largest = np.abs(exact.logits).max()
    contributions = np.abs(low.contributions - exact.contributions).max() / np.abs(exact.contributions).max()
    return np.abs(low.logits - exact.logits).max() / largest, contributions, np.abs(low.residual).max() / largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("low_precision.png"), help="picture (default: %(default)s)"
    )
    arguments = parser.parse_args()

    recipe, dataset = keras_coda.recipes.load("xs_coda_digits"), keras_coda.data.load("digits")
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    rows = []
    for dtype in DTYPES:
        model, losses, accuracy = train(recipe, dtype, arguments.epochs)
        rows.append((dtype, losses.iloc[-1], accuracy, *errors(model, dataset.x_test)))
        axes.plot(np.arange(1, len(losses) + 1), losses, label=dtype)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log", title=f"xs_coda_digits, {keras.backend.backend()}")
    axes.legend()
    plots.save_figure(figure, arguments.out)

    print(f"\n{len(dataset.x_test)} test images, all 10 classes, {keras.backend.backend()} backend\n")
    print("| dtype policy | last loss | accuracy | logits | contributions | completeness |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dtype, loss, accuracy, *rest in rows:
        print(f"| {dtype} | {loss:.4f} | {accuracy:.1%} | " + " | ".join(f"{error:.1e}" for error in rest) + " |")


if __name__ == "__main__":
    main()
