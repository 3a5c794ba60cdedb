"""Every method gives the same attributions as on PyTorch, for the same weights and images."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny_models
from skimage import data

from keras_coda.attributions import published

OTHER = "torch"
MODELS = {"cnn": tiny_models.cnn, "coda_net": tiny_models.coda_net}
# As published, but less of it.
SMALLER = {
    "rise": {"masks": 40, "probability": 0.5, "cells": 4},
    "lime_1": {"samples": 60},
    "lime_4": {"samples": 60},
    "integrated_gradients": {"steps": 5},
    "smooth_grad": {"samples": 4},
}
TARGETS = np.array([[1, 3], [0, 2]])


def photographs():
    """Two crops of a photograph that comes with scikit-image, since noise has too many superpixels."""
    astronaut = data.astronaut()[40:208:14, 150:310:8] / np.float32(255)
    return np.stack([astronaut[:, :10], astronaut[:, 10:]])


def attributions():
    """Those of all methods to two targets an image, by name."""
    found = {}
    for kind, make in MODELS.items():
        model = make()
        for name, method in published("cifar10").items():
            if kind == "cnn" and name == "contributions":
                continue
            found[f"{kind} {name}"] = method(model, **SMALLER.get(name, {}))(photographs(), TARGETS)
    return found


def test_backends_agree(tmp_path):
    if keras.backend.backend() == OTHER or importlib.util.find_spec(OTHER) is None:
        pytest.skip(f"needs another backend than {OTHER}, and {OTHER}")
    environment = {**os.environ, "KERAS_BACKEND": OTHER, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(pathlib.Path(__file__)), str(tmp_path / "other.npz")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        got = attributions()
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    with np.load(tmp_path / "other.npz") as want:
        assert set(got) == set(want)
        for name, attribution in got.items():
            scale = np.abs(want[name]).max()
            assert scale > 0, name
            np.testing.assert_allclose(attribution, want[name], atol=1e-4 * scale, err_msg=name)


if __name__ == "__main__":
    np.savez(sys.argv[1], **attributions())
