"""Figure 3 of the paper: a rank-3 DAU encodes three images as eigenvectors of AB.

One DAU without bias is trained to maximise its mean output over noisy samples of three MNIST digits (3.1). The
eigenvectors of AB are then the digits without the noise. Prints each one's cosine similarity with the digit nearest to
it, and draws them.

    python scripts/figure3.py --out figure3.png

MNIST comes from TFDS (pip install tensorflow-datasets importlib_resources tensorflow-cpu).
"""

import argparse
import pathlib

import keras
import numpy as np
import tensorflow_datasets as tfds
from matplotlib.figure import Figure

import keras_coda
from keras_coda.explanations import plots

DIGITS = (6, 1, 7)
RANK = len(DIGITS)


def originals(data_dir):
    """The first MNIST test image of each of `DIGITS`, `(3, 784)`, in [0, 1]."""
    data = tfds.as_numpy(tfds.load("mnist", split="test", batch_size=-1, data_dir=data_dir))
    return np.stack([data["image"][data["label"] == digit][0].reshape(-1) for digit in DIGITS]) / 255.0


def noisy(images, samples, deviation, generator):
    """`samples` images in equal parts, with zero-mean Gaussian noise added."""
    chosen = images[np.arange(samples) % len(images)]
    return (chosen + generator.normal(0.0, deviation, chosen.shape)).astype("float32")


def eigenvectors(layer):
    """The eigenvectors of AB with the largest eigenvalues by magnitude, real, of unit norm: `(3, 784)`."""
    a = keras.ops.convert_to_numpy(layer.a_kernel)[:, :, 0].astype("float64")
    b = keras.ops.convert_to_numpy(layer.b_kernel).astype("float64")
    # AB v = s v with v = A c: the eigenvectors c of the small matrix B^T A have the same eigenvalues.
    values, vectors = np.linalg.eig(b.T @ a)
    found = (a @ vectors[:, np.argsort(-np.abs(values))]).T
    found = np.real(found)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def maximise(inputs, epochs, learning_rate):
    """A rank-3 DAU whose mean output over the inputs is maximal, under the rescaling L2."""
    layer = keras_coda.DAUDense(1, RANK, rescaling="l2", use_bias=False)
    model = keras.Sequential([keras.Input((inputs.shape[1],)), layer])
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(inputs) // 128))
    model.compile(keras.optimizers.Adam(schedule), loss=lambda target, output: -output)
    model.fit(inputs, np.zeros(len(inputs)), batch_size=128, epochs=epochs, verbose=2)
    return layer


def draw(images, inputs, found, path):
    """Originals, training samples and eigenvectors, a digit a row, as in the paper."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots(3, 5)
    titles = ("original", "noisy training data", "", "", "eigenvector of AB")
    for row, image in enumerate(images):
        columns = [image, *inputs[row::3][:3], found[row]]
        for ax, pixels, title in zip(axes[row], columns, titles, strict=True):
            ax.imshow(pixels.reshape(28, 28), cmap="gray")
            ax.set_axis_off()
            if row == 0:
                ax.set_title(title, fontsize=8)
    plots.save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("figure3.png"))
    parser.add_argument("--data-dir", help="where TFDS keeps its data")
    parser.add_argument("--samples", type=int, default=3072, help="noisy images (paper: %(default)s)")
    parser.add_argument("--noise", type=float, default=0.3, help="its standard deviation (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    images = originals(arguments.data_dir)
    inputs = noisy(images, arguments.samples, arguments.noise, np.random.default_rng(0))
    found = eigenvectors(maximise(inputs, arguments.epochs, arguments.learning_rate))

    units = images / np.linalg.norm(images, axis=1, keepdims=True)
    similarities = units @ found.T
    order = np.argmax(np.abs(similarities), axis=1)
    signs = np.sign(similarities[np.arange(len(images)), order])
    found = found[order] * signs[:, np.newaxis]
    for digit, similarity in zip(DIGITS, np.sum(units * found, axis=1), strict=True):
        print(f"{digit}: cosine similarity of the nearest eigenvector {similarity:.3f}")
    if len(set(order)) < len(images):
        print("Two digits have the same nearest eigenvector.")
    draw(images, inputs, found, arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
