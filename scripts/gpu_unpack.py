"""Unpack a folder of `gpu_pack.py` on the GPU machine: wheels, images as arrays, and the preset to start from.

    python3 scripts/gpu_unpack.py build/gpu/s/1 /tmp/gpu

Call it once for each folder. It makes /tmp/gpu/site (for PYTHONPATH), /tmp/gpu/start, and /tmp/gpu/arrays, which gets a
file "complete" after the last image. It needs NumPy and Pillow.
"""

import argparse
import importlib
import pathlib
import shutil
import subprocess
import sys
import tarfile

import numpy as np

CIFAR10_IMAGES = {"train": 50_000, "test": 10_000}
PIP = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]


def install_wheels(folder, site):
    """Unpack the wheels by pip."""
    wheels = sorted(map(str, folder.glob("*.whl")))
    if wheels:
        subprocess.run([sys.executable, "-m", "pip", "install", *PIP, "--target", str(site), *wheels], check=True)


def cifar10(data, arrays):
    """Unpack CIFAR-10 if all of it is there. Returns whether it was."""
    sys.path.insert(0, str(data))
    install = importlib.import_module("install")
    files = len(list((data / "cifar10").glob("*.webp")))
    if 1000 * files < sum(CIFAR10_IMAGES.values()):
        print(f"{files} of {sum(CIFAR10_IMAGES.values()) // 1000} files of CIFAR-10 so far")
        return False
    for split, count in CIFAR10_IMAGES.items():
        images, labels = install.cifar10(split)
        if images.shape != (count, 32, 32, 3):
            raise ValueError(f"Expected {count} images of 32 x 32. Received: {images.shape}")
        np.save(arrays / f"x_{split}.npy", images)
        np.save(arrays / f"y_{split}.npy", labels)
    (arrays / "classes.txt").write_text("\n".join(install.CIFAR10_CLASSES) + "\n")
    return True


def tiny_imagenet(data, arrays):
    """Unpack those files of TinyImageNet that are there. Returns whether it is complete."""
    command = [sys.executable, str(data / "install.py"), "tiny-arrays", str(arrays), "--partial"]
    result = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    print(result.stderr, end="", file=sys.stderr)
    result.check_returncode()
    with tarfile.open(data / "tiny-imagenet" / "annotations.tar.xz") as archive:
        archive.extract("tiny-imagenet-200/words.txt", data, filter="data")
    shutil.copyfile(data / "tiny-imagenet-200" / "words.txt", arrays / "words.txt")
    return "not there yet" not in result.stderr


def main(arguments=None):
    """Unpack one folder, in addition to those before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--no-wheels", action="store_true", help="images alone, on a machine with another Python")
    arguments = parser.parse_args(arguments)
    target = arguments.target
    shutil.copytree(arguments.folder, target, dirs_exist_ok=True)
    if not arguments.no_wheels:
        install_wheels(arguments.folder / "wheels", target / "site")
    (target / "arrays").mkdir(exist_ok=True)
    if not (target / "arrays" / "complete").exists():
        unpack = tiny_imagenet if (target / "data" / "tiny-imagenet").is_dir() else cifar10
        if unpack(target / "data", target / "arrays"):
            (target / "arrays" / "complete").touch()
            print(f"{target / 'arrays'} is complete")


if __name__ == "__main__":
    main()
