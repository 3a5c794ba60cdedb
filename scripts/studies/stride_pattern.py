"""Measure how much of a preset's contribution maps is a pattern of its strides.

    python scripts/studies/stride_pattern.py xs_coda_cifar10 --dataset cifar10

A layer of stride s whose kernel covers some pixels more often than others leaves a pattern of period s in every map.
Let s be the product of all strides. In the Fourier transform of a map of H x W pixels the pattern is energy at
multiples of H/s rows and W/s columns. Printed is the share of the energy there, without the constant part, for maps of
the predicted classes of test images: the mean over images, and the share in the mean of the absolute maps, in which
images average out and the pattern remains. For white noise the share is (s^2 - 1) / (H W - 1).
"""

import argparse
import math

import numpy as np

from keras_coda import data, presets


def share_at_stride(maps, stride):
    """The share of energy at multiples of 1 / `stride`, `(N,)`, for each of the maps `(N, H, W)`."""
    energy = np.abs(np.fft.fft2(maps)) ** 2
    energy[:, 0, 0] = 0
    height, width = maps.shape[1:]
    if height % stride or width % stride:
        raise ValueError(f"The maps' sides must be multiples of the stride, {stride}. Received: {height} x {width}")
    lattice = energy[:, :: height // stride, :: width // stride]
    return lattice.sum((1, 2)) / energy.sum((1, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="a name or folder")
    parser.add_argument("--dataset", required=True, help="a name of keras_coda.data, or an .npz file")
    parser.add_argument("--images", type=int, default=1000, help="test images (default: %(default)s)")
    arguments = parser.parse_args()
    model = presets.load(arguments.preset)
    images = data.load(arguments.dataset).x_test[: arguments.images]
    maps = model.explain(images).contribution_map
    stride = math.prod(model.strides)
    white = (stride**2 - 1) / (maps[0].size - 1)
    print(f"{arguments.preset}: {len(maps)} maps of {maps.shape[1]} x {maps.shape[2]} pixels, stride {stride}")
    print(f"share of energy at the stride, mean over maps: {share_at_stride(maps, stride).mean():.4f}")
    print(f"the same of the mean absolute map: {share_at_stride(np.abs(maps).mean(0, keepdims=True), stride)[0]:.4f}")
    print(f"white noise: {white:.4f}")


if __name__ == "__main__":
    main()
