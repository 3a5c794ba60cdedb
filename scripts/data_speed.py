"""Measure how fast training images are prepared: a Markdown table of images per second.

    KERAS_BACKEND=torch python scripts/data_speed.py

Batches are taken as `model.fit` takes them, and not used. The images are random: arrays with the shapes of the data
sets, and for ImageNet-100 JPEG files of 500 x 375 pixels in memory, so that the speed of the disk does not matter. The
last column is for a network that does not use the CPU, as on a GPU: after each batch there is a pause as long as its
preparation. If batches were not prepared during the pause, it would be half of the column before it.

`--rand-augment` measures RandAugment alone: images per second of CPU time of one core, on which other work on the
machine has the least effect.
"""

import argparse
import io
import os
import statistics
import time

import keras
import numpy as np
from benchmarks import machine
from PIL import Image

from keras_coda.data import Augmentation, Batches, StoredImages
from keras_coda.data.rand_augment import rand_augment

FLIP_AND_CROP = Augmentation(flip=True, crop_padding=4)
RAND_AUGMENT = {"num_ops": 2, "magnitude": 10}
CASES = {
    "cifar10, flip and crop": ((32, 32), FLIP_AND_CROP),
    "tiny_imagenet, flip and crop": ((64, 64), FLIP_AND_CROP),
    "tiny_imagenet, flip, crop and RandAugment": ((64, 64), Augmentation(True, 4, RAND_AUGMENT)),
    "imagenet100, flip and crop": ((375, 500), Augmentation(True, 0)),
    "imagenet100, flip, crop and RandAugment": ((375, 500), Augmentation(True, 0, RAND_AUGMENT)),
}


class Files(list):
    """Examples in memory, with the interface of `tfds.data_source`."""

    def __getitems__(self, keys):
        return [self[key] for key in keys]


def photo(rng, size):
    """A JPEG file with as much detail as those of ImageNet on average, about 110 kB."""
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), "uint8")).resize(size[::-1], Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse) + rng.normal(0, 14, (*size, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(file, "jpeg", quality=90)
    return file.getvalue()


def images_of(size, count):
    rng = np.random.default_rng(0)
    if size[0] < 100:
        return rng.integers(0, 256, (count, *size, 3), "uint8")
    return StoredImages(Files({"image": photo(rng, size)} for _ in range(count)), 256, 240)


def seconds(batches, pause=0.0):
    """Seconds of an epoch with a pause after each batch."""
    began = time.perf_counter()
    for number in range(len(batches)):
        batches[number]
        time.sleep(pause)
    return time.perf_counter() - began


def measure(images, augmentation, batch_size, rounds):
    """Images per second, without and with pauses: medians of several epochs after a warm-up epoch."""
    count = len(images)
    batches = Batches(images, np.zeros(count, "int64"), batch_size, 1, augmentation=augmentation)
    alone, beside = [], []
    for epoch in range(rounds + 1):
        batches.shuffle(epoch)
        alone.append(seconds(batches))
        batches.shuffle(epoch)
        beside.append(seconds(batches, alone[-1] / len(batches)))
    return count / statistics.median(alone[1:]), count / statistics.median(beside[1:])


def rand_augment_alone(size, count, rounds):
    """Images of `size` x `size` pixels per second of CPU time: the median of several rounds."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), "uint8")
    rates = []
    for _ in range(rounds):
        began = time.process_time()
        rand_augment(images, np.arange(count), **RAND_AUGMENT)
        rates.append(count / (time.process_time() - began))
    return statistics.median(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="images in a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=16, help="in an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="epochs (default: %(default)s)")
    parser.add_argument("--rand-augment", action="store_true", help="RandAugment alone, by CPU time")
    arguments = parser.parse_args()
    if arguments.rand_augment:
        for side, count in ((32, 1024), (240, 64)):
            rate = rand_augment_alone(side, count, arguments.rounds)
            print(f"{side} x {side}: {rate:,.0f} images a second of one core's time")
        return
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {machine.cpu()}, {os.cpu_count()} cores")
    print(f"batches of {arguments.batch}, load average before: {os.getloadavg()[0]:.1f}\n")
    print("| | images a second | beside a busy network |\n| --- | --- | --- |")
    for name, (size, augmentation) in CASES.items():
        images = images_of(size, arguments.batch * arguments.batches)
        rates = measure(images, augmentation, arguments.batch, arguments.rounds)
        print(f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |", flush=True)


if __name__ == "__main__":
    main()
