"""Time a training step, inference and explanation of a CoDA-Net, interleaved in one run, and their ratios.

    KERAS_BACKEND=torch python scripts/benchmark.py --size s --batch 32

Prints a Markdown table: the median seconds of several rounds after a warm-up, images a second, and the ratio.
"""

import argparse
import platform
import statistics
import time

import keras
import numpy as np

import keras_coda

IMAGE_SIZES = {"s": 32, "m": 32, "l": 240, "xl": 64}


def jobs(model, images, labels):
    """What is timed, by name. Each ends with its results in NumPy, so that nothing is left running."""
    everything = np.tile(np.arange(model.classes), (len(images), 1))
    return {
        "training step": lambda: model.train_on_batch(images, labels),
        "inference": lambda: model.predict_on_batch(images),
        "explanation, one class": lambda: model.explain(images, batch_size=len(images)),
        "explanation, all classes": lambda: model.explain(images, everything, batch_size=len(images)),
    }


def measure(functions, rounds):
    """Median seconds of each function over interleaved rounds, after one that is not counted."""
    seconds: dict = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(IMAGE_SIZES), default="s")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", default="float32", help="dtype policy (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    side = IMAGE_SIZES[arguments.size]
    model = keras_coda.CoDANet.from_size(arguments.size, image_shape=(side, side, 3), dtype=arguments.dtype)
    model.compile(keras.optimizers.Adam(2.5e-4), keras_coda.OneVsRestCrossentropy())
    generator = np.random.default_rng(0)
    images = generator.random((arguments.batch, side, side, 3), dtype="float32")
    labels = generator.integers(0, model.classes, arguments.batch)
    medians = measure(jobs(model, images, labels), arguments.rounds)

    print(
        f"{arguments.size.upper()}-CoDA, {side} x {side}, batch {arguments.batch}, {arguments.dtype}, "
        f"{keras.backend.backend()} backend, Keras {keras.__version__}, {platform.machine()}\n"
    )
    print("| job | seconds | images a second | of a training step |\n| --- | --- | --- | --- |")
    for name, seconds in medians.items():
        ratio = seconds / medians["training step"]
        print(f"| {name} | {seconds:.3f} | {arguments.batch / seconds:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
