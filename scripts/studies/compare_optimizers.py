"""Muon against Adam, each at its best of several learning rates, on equal images: tables and a picture of the losses.

    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python scripts/studies/compare_optimizers.py --out optimizers
    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python scripts/studies/compare_optimizers.py --networks s --seeds 0 \
        --rates '{"muon": [0.01], "adam": [0.001]}' --out optimizers

Networks: five layers at 32 x 32 pixels, nine layers of rank 8 at 16 x 16, S with half its filters and ranks at 16 x 16
(T in proportion to the pixels), and S itself at 32 x 32. The first images of CIFAR-10, in an order drawn from the seed,
batches of 128 (--batch), no augmentation, rates that fall to 0 along a line. After every sixteenth part of the images
the loss of the same test images is taken. Every rate is tried with the first seed, the best of them with the others.

Other settings of Muon, in a folder of their own:

    ... --rates '{"muon": [0.03]}' --muon '{"weight_decay": 0.1}' --out optimizers/decay_0.1

Each training leaves a JSON file in the folder. One that is there is not run again, so that a cut costs one training.
`--table` writes Markdown from what is there, and the picture `optimizers.png`.
"""

import argparse
import json
import pathlib
import time

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_coda
from keras_coda import data
from keras_coda.models.sizes import SIZES
from keras_coda.optimizers import Adam, Muon

TEST_BATCH = 128
PARTS = 16
RATES = {"adam": [0.001, 0.002, 0.004], "muon": [0.01, 0.03, 0.06]}
OPTIMIZERS = {"adam": Adam, "muon": Muon}
S = {**SIZES["s"], "filters": [*SIZES["s"]["filters"], 10]}
NINE = {**S, "filters": [8] * 2 + [16] * 3 + [32] * 3 + [10], "ranks": [8] * 9}
FIVE = {"filters": [16, 32, 32, 32, 10], "kernel_sizes": [4, 3, 4, 3, 1], "ranks": [8, 8, 8, 8, 16]}
HALF = {
    **S,
    "filters": [units // 2 for units in S["filters"][:-1]] + [10],
    "ranks": [rank // 2 for rank in S["ranks"]],
}
# Arguments of the network, pixels a side, training images.
NETWORKS = {
    "five": ({**FIVE, "strides": [2, 1, 2, 1, 1], "temperature": 1000.0}, 32, 12_800),
    "nine": ({**NINE, "temperature": 250.0}, 16, 25_600),
    "half": ({**HALF, "temperature": 250.0}, 16, 12_800),
    "s": (S, 32, 20_480),
}


def images_of(dataset, size, count, tests, seed):
    """Images in the order of a training, and test images, scaled to `size` by means over squares of pixels."""
    order = np.random.default_rng(seed).permutation(len(dataset.x_train))[:count]
    parts = (dataset.x_train[order], dataset.x_test[:tests])
    step = dataset.x_train.shape[1] // size
    small = [
        images.reshape(len(images), size, step, size, step, -1).mean((2, 4)).astype("float32") / 255 for images in parts
    ]
    return small[0], dataset.y_train[order], small[1], dataset.y_test[:tests]


def trained(name, optimizer, rate, seed, dataset, options):
    """One training: images seen, loss and accuracy on the test images after each part."""
    layout, size, count = NETWORKS[name]
    count -= count % options.batch
    x, y, *test = images_of(dataset, size, count, options.tests, seed)
    keras.utils.set_random_seed(seed)
    model = keras_coda.CoDANet(image_shape=(None, None, 3), **layout)
    schedule = keras.optimizers.schedules.PolynomialDecay(rate, count // options.batch, end_learning_rate=0.0)
    algorithm = OPTIMIZERS[optimizer](schedule, **(options.muon if optimizer == "muon" else {}))
    model.compile(algorithm, keras_coda.OneVsRestCrossentropy(), metrics=["accuracy"])
    began, seen, losses, accuracies = time.process_time(), [], [], []
    for part in np.array_split(np.arange(count).reshape(-1, options.batch), PARTS):
        images = part.ravel()
        model.fit(x[images], y[images], batch_size=options.batch, shuffle=False, verbose=0)
        loss, accuracy = model.evaluate(*test, batch_size=TEST_BATCH, verbose=0)
        seen.append(int(images[-1]) + 1)
        losses.append(loss)
        accuracies.append(accuracy)
        print(f"{name} {optimizer} {rate} seed {seed}: {seen[-1]} images, {loss:.4f}, {accuracy:.1%}", flush=True)
    return {"images": seen, "loss": losses, "accuracy": accuracies, "cpu_seconds": time.process_time() - began}


def saved(name, optimizer, rate, seed, dataset, options):
    """`trained`, or what it left in the folder."""
    file = options.out / f"{name}_{optimizer}_{rate}_{seed}.json"
    if not file.exists():
        result = trained(name, optimizer, rate, seed, dataset, options)
        file.write_text(json.dumps(result))
    return json.loads(file.read_text())


def results(folder, name):
    """What is in the folder of a network, by optimizer, rate and seed."""
    found: dict[str, dict[float, dict[int, dict]]] = {}
    for file in sorted(folder.glob(f"{name}_*_*_*.json")):
        _, optimizer, rate, seed = file.stem.split("_")
        found.setdefault(optimizer, {}).setdefault(float(rate), {})[int(seed)] = json.loads(file.read_text())
    return found


def best_rate(by_rate, seed):
    """The rate with the lowest last loss. A loss that is not finite is the worst."""
    return min((rate for rate in by_rate if seed in by_rate[rate]), key=lambda rate: last(by_rate[rate][seed]))


def last(result):
    loss = result["loss"][-1]
    return loss if np.isfinite(loss) else np.inf


def reached(result, loss):
    """How many images were seen when the loss was first as low; `None` if it never was."""
    return next((images for images, here in zip(result["images"], result["loss"], strict=True) if here <= loss), None)


def table(folder, seed):
    """Markdown, and the picture."""
    print("| network, images | optimizer | last test loss by rate | best rate: accuracy, by seed | loss, by seed |")
    print("| --- | --- | --- | --- | --- |")
    shown = [name for name in NETWORKS if len(results(folder, name)) == len(OPTIMIZERS)]
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.2), squeeze=False, layout="constrained")
    lines = []
    for name, axis in zip(shown, axes[0], strict=True):
        found = results(folder, name)
        best = {optimizer: found[optimizer][best_rate(found[optimizer], seed)] for optimizer in OPTIMIZERS}
        for optimizer in OPTIMIZERS:
            rate = best_rate(found[optimizer], seed)
            tried = {r: last(by[seed]) for r, by in sorted(found[optimizer].items()) if seed in by}
            rates = ", ".join(f"{r:g}: {loss:.4f}" for r, loss in tried.items())
            accuracies = ", ".join(f"{result['accuracy'][-1]:.1%}" for result in best[optimizer].values())
            losses = ", ".join(f"{last(result):.4f}" for result in best[optimizer].values())
            images = best[optimizer][seed]["images"][-1]
            print(f"| {name}, {images} | {optimizer} | {rates} | {rate:g}: {accuracies} | {losses} |")
            for number, result in enumerate(best[optimizer].values()):
                style = {"color": {"muon": "C3", "adam": "C0"}[optimizer], "alpha": 1.0 if number == 0 else 0.4}
                label = None if number else f"{optimizer.title()}, {rate:g}"
                axis.plot(result["images"], result["loss"], label=label, **style)
        for seed_, adam in best["adam"].items():
            if seed_ in best["muon"]:
                images = reached(best["muon"][seed_], last(adam))
                lines.append(f"| {name} | {seed_} | {last(adam):.4f} | {images} of {adam['images'][-1]} |")
        axis.set(title=name, xlabel="training images", ylabel="test loss" if axis is axes[0][0] else None)
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    print("\n| network | seed | Adam's last loss | images until Muon has it |\n| --- | --- | --- | --- |")
    print("\n".join(lines))
    figure.savefig(folder / "optimizers.png", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["five", "nine", "half"])
    parser.add_argument("--rates", type=json.loads, default=RATES, help="JSON, a list for each optimizer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--batch", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--muon", type=json.loads, default={}, help="JSON, further arguments of Muon")
    parser.add_argument("--tests", type=int, default=1_000, help="test images (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    parser.add_argument("--table", action="store_true", help="print what is there, and draw it, without training")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.table:
        table(arguments.out, arguments.seeds[0])
        return
    dataset = data.load("cifar10")
    for name in arguments.networks:
        for optimizer, rates in arguments.rates.items():
            first, *others = arguments.seeds
            for rate in rates:
                saved(name, optimizer, rate, first, dataset, arguments)
            best = best_rate(results(arguments.out, name)[optimizer], first)
            for seed in others:
                saved(name, optimizer, best, seed, dataset, arguments)


if __name__ == "__main__":
    main()
