"""Train on a folder of photos from a preset, from random weights, and with a plain CNN of equal multiply-adds.

    python scripts/studies/transfer.py other/ --start xs_coda_cifar10 --epochs 15 --seeds 0 1

All see the same batches of the same images, in the preset's size. The CoDA-Nets are trained by the recipe of
`keras-coda recipe`. The CNN has convolutions with the same kernels and strides, batch normalisation, ReLU, average
pooling and a softmax, and is trained by Keras' Adam with a learning rate of 0.001 and cosine decay. Prints the accuracy
on the test part, and seconds of CPU time in `fit`.
"""

import argparse
import dataclasses
import time

import keras
import numpy as np

import keras_coda
from keras_coda import data, presets
from keras_coda.training import fitting, recipe_for_photos
from keras_coda.training.photo_recipes import start_shape


def dau_multiply_adds(model, filters, channels):
    """Multiply-adds of each layer at one position: two products of the patch for each rank of each filter."""
    return [
        2 * n * rank * kernel**2 * c
        for n, rank, kernel, c in zip(filters, model["ranks"], model["kernel_sizes"], channels, strict=True)
    ]


def positions(model, side):
    """The number of positions of each layer's output."""
    sides = np.ceil(side / np.cumprod(model["strides"]))
    return sides**2


def plain_cnn(model, side, classes):
    """A CNN with the kernels and strides of a recipe's `model`, as wide as equal multiply-adds allow."""
    filters = model["filters"]
    count = positions(model, side)
    wanted = np.dot(dau_multiply_adds(model, filters, [6, *filters[:-1]]), count)

    def multiply_adds(factor):
        widths = [round(factor * n) for n in filters[:-1]] + [classes]
        layers = zip(widths, model["kernel_sizes"], [3, *widths[:-1]], count, strict=True)
        return sum(n * kernel**2 * c * number for n, kernel, c, number in layers)

    factor = min(np.arange(1, 20, 0.02), key=lambda factor: abs(multiply_adds(factor) - wanted))
    stack = [keras.Input((side, side, 3)), keras.layers.Rescaling(1 / 255)]
    for n, kernel, stride in zip(filters[:-1], model["kernel_sizes"], model["strides"], strict=False):
        stack += [
            keras.layers.Conv2D(round(factor * n), kernel, stride, padding="same", use_bias=False),
            # Training is short: with a momentum of 0.99 the moving averages lag behind, and accuracy stays at chance.
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]
    stack += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
    return keras.Sequential(stack), multiply_adds(factor) / wanted


def network(kind, recipe, start, freeze, steps, classes):
    """A compiled network: "start", "scratch" or "cnn"."""
    if kind == "cnn":
        model, part = plain_cnn(recipe.model, recipe.image_shape[0], classes)
        print(f"cnn: {part:.2f} of the CoDA-Net's multiply-adds, {model.count_params():,} parameters", flush=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)), loss)
        return model
    if kind == "start":
        model = presets.load(start, classes=classes, freeze=freeze)
    else:
        model = keras_coda.CoDANet(**recipe.model)
    model.compile(fitting.optimizer(recipe, steps), keras_coda.OneVsRestCrossentropy())
    return model


def main(arguments=None):
    """Train all networks, and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--start", default="xs_coda_cifar10")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--kinds", nargs="+", default=["start", "scratch", "cnn"])
    parser.add_argument("--rate", type=float, help="learning rate of the CoDA-Nets (default: the recipe's)")
    parser.add_argument("--freeze", nargs="+", default=[], help="layers of the preset to keep, as in presets.load")
    parsed = parser.parse_args(arguments)
    photos = data.Photos(parsed.images, start_shape(parsed.start))
    print(photos.summary(), flush=True)
    (images, labels), (x_test, y_test) = photos.parts["train"], photos.parts[photos.test]
    x_test = x_test[:]
    started, usual = recipe_for_photos(photos, parsed.start), recipe_for_photos(photos)
    for seed in parsed.seeds:
        for kind in parsed.kinds:
            # From random weights, the rate of such a training.
            rate = (started if kind == "start" else usual).learning_rate if parsed.rate is None else parsed.rate
            recipe = dataclasses.replace(started, epochs=parsed.epochs, seed=seed, learning_rate=rate)
            keras.utils.set_random_seed(seed)
            batches = data.Batches(
                images, labels, recipe.batch_size, 1, seed=seed, augmentation=fitting.augmentation(recipe)
            )
            steps = parsed.epochs * len(batches)
            model = network(kind, recipe, parsed.start, parsed.freeze, steps, len(photos.classes))
            began = time.process_time()
            shuffle = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs, b=batches: b.shuffle(epoch))
            model.fit(batches, epochs=parsed.epochs, shuffle=False, callbacks=[shuffle], verbose=0)
            seconds = time.process_time() - began
            accuracy = np.mean(model.predict(x_test, verbose=0).argmax(-1) == y_test)
            print(f"seed {seed}, {kind}: accuracy {accuracy:.3f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
