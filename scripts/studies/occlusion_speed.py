"""Time occlusion of a preset's images, or grids of them, by windows and by the whole network in turns: a Markdown row.

    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python scripts/studies/occlusion_speed.py xs_coda_cifar10 --grid 3

Images are random numbers. Times are CPU times of the process for all classes of one image, the best of --rounds after a
first one, which compiles.
"""

import argparse
import time
from unittest import mock

import keras
import numpy as np

import keras_coda
from keras_coda.attributions import Occlusion
from keras_coda.attributions.patch_drops import PatchDrops


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its weights are not loaded")
    parser.add_argument("--grid", type=int, default=1, help="images along each side (default: %(default)s)")
    parser.add_argument("--patch", type=int, default=9, help="(default: %(default)s)")
    parser.add_argument("--stride", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    model = keras_coda.presets.load(arguments.preset, load_weights=False)
    height, width = (arguments.grid * size for size in model.image_size)
    model.image_size = height, width
    channels = model.inputs[0].shape[-1 if model.data_format == "channels_last" else 1]
    shape = (1, height, width, channels) if model.data_format == "channels_last" else (1, channels, height, width)
    images = np.random.default_rng(0).random(shape, dtype="float32")
    method = Occlusion(model, arguments.patch, arguments.stride, batch_size=arguments.batch)
    times: dict[bool, list] = {True: [], False: []}
    for _ in range(arguments.rounds + 1):
        for by_windows, measured in times.items():
            with mock.patch.object(PatchDrops, "pays", return_value=by_windows):
                began = time.process_time()
                method(images, "all")
                measured.append(time.process_time() - began)
    windows, whole = (min(measured[1:]) for measured in times.values())
    print(f"Keras {keras.__version__} on {keras.backend.backend()}, {height} x {width} pixels")
    print(f"| {arguments.preset} | patch {arguments.patch} | {windows:.2f} s | {whole:.2f} s | {whole / windows:.1f} |")


if __name__ == "__main__":
    main()
