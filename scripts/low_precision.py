"""Train one network in float32, mixed_bfloat16 and mixed_float16 with one seed, and draw the loss of each.

    KERAS_BACKEND=jax python scripts/low_precision.py --out docs/low_precision.png

The data are scikit-learn's handwritten digits, which need no download; the network and its training are those of the
recipe xs_coda_digits. Prints a Markdown table: accuracy, and the errors of explanations in low precision against
those of the same weights in float32.
"""

import argparse
import pathlib

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_coda
from keras_coda import plots

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")


def train(recipe, dataset, dtype, epochs):
    """The trained `CoDANet`, and its loss after each epoch."""
    keras.utils.set_random_seed(recipe.seed)
    model = keras_coda.CoDANet(**recipe.model, image_shape=dataset.x_train.shape[1:], dtype=dtype)
    steps = epochs * -(-len(dataset.x_train) // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), keras_coda.OneVsRestCrossentropy())
    history = model.fit(dataset.x_train, dataset.y_train, batch_size=recipe.batch_size, epochs=epochs, verbose=2)
    return model, history.history["loss"]


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
        model, losses = train(recipe, dataset, dtype, arguments.epochs or recipe.epochs)
        predicted = model.predict(dataset.x_test, verbose=0).argmax(-1)
        rows.append((dtype, losses[-1], np.mean(predicted == dataset.y_test), *errors(model, dataset.x_test)))
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
