"""Figure 3: a rank-3 DAU encodes three images as eigenvectors of AB.

One DAU without bias is trained to maximise its mean output over noisy samples of three digits (3.1). The eigenvectors
of AB are then the digits without the noise.
"""

import keras
import numpy as np

import keras_coda
from keras_coda.plots.panels import image, plot_panels

DIGITS = (6, 1, 7)
RANK = len(DIGITS)
COLUMNS = ["original", "", "noisy training data", "", "eigenvector"]


def originals(dataset):
    """The first test image of each digit in `DIGITS`, `(3, H, W)`, in [0, 1]."""
    first = [np.flatnonzero(dataset.y_test == digit)[0] for digit in DIGITS]
    images = dataset.x_test[first][..., 0]
    return images / 255.0 if np.issubdtype(images.dtype, np.integer) else images.astype("float64")


def noisy(images, samples, deviation, generator):
    """`samples` images in equal parts, with zero-mean Gaussian noise added."""
    chosen = images[np.arange(samples) % len(images)]
    return (chosen + generator.normal(0.0, deviation, chosen.shape)).astype("float32")


def eigenvectors(layer):
    """The eigenvectors of AB with the largest eigenvalues by magnitude, real, of unit norm: `(3, d)`."""
    a = keras.ops.convert_to_numpy(layer.a_kernel)[:, :, 0].astype("float64")
    b = keras.ops.convert_to_numpy(layer.b_kernel).astype("float64")
    # AB v = s v with v = A c: the eigenvectors c of the small matrix B^T A have the same eigenvalues.
    values, vectors = np.linalg.eig(b.T @ a)
    found = np.real((a @ vectors[:, np.argsort(-np.abs(values))]).T)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def maximise(inputs, epochs, learning_rate):
    """A rank-3 DAU whose mean output over the inputs is maximal, under the rescaling L2."""
    layer = keras_coda.DAUDense(1, RANK, rescaling="l2", use_bias=False)
    model = keras.Sequential([keras.Input((inputs.shape[1],)), layer])
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(inputs) // 128))
    model.compile(keras.optimizers.Adam(schedule), loss=lambda target, output: -output)
    model.fit(inputs, np.zeros(len(inputs)), batch_size=128, epochs=epochs, verbose=2)
    return layer


def nearest(images, found):
    """For each image: index of the nearest eigenvector, this eigenvector with the image's sign, and the similarity."""
    units = images / np.linalg.norm(images, axis=1, keepdims=True)
    similarities = units @ found.T
    order = np.argmax(np.abs(similarities), axis=1)
    found = found[order] * np.sign(similarities[np.arange(len(images)), order])[:, np.newaxis]
    return order, found, np.sum(units * found, axis=1)


def draw(dataset, samples=3072, deviation=0.3, epochs=20, learning_rate=1e-2):
    """Originals, training samples and eigenvectors, with a row for each digit (paper). Prints the similarities."""
    keras.utils.set_random_seed(0)
    images = originals(dataset)
    shape = images.shape[1:]
    images = images.reshape(RANK, -1)
    inputs = noisy(images, samples, deviation, np.random.default_rng(0))
    order, found, similarities = nearest(images, eigenvectors(maximise(inputs, epochs, learning_rate)))
    for digit, similarity in zip(DIGITS, similarities, strict=True):
        print(f"{digit}: cosine similarity of the nearest eigenvector {similarity:.3f}")
    if len(set(order)) < RANK:
        print("Two digits have the same nearest eigenvector.")
    cells = []
    for row, original in enumerate(images):
        columns = [original, *inputs[row::RANK][:3], found[row]]
        cells.append([_gray(pixels.reshape(shape)) for pixels in columns])
    return plot_panels(cells, columns=COLUMNS, size=128, aspect=shape[0] / shape[1], groups=(1, 4))


def _gray(pixels):
    """A panel in gray, with the least value in black and the largest in white."""
    return image((pixels - pixels.min()) / np.ptp(pixels))
