"""Collect the files that a GPU machine without a network needs, in folders small enough for a transfer.

    python scripts/gpu_pack.py s --data /path/to/packed/data
    python scripts/gpu_pack.py xl --data /path/to/packed/data --start build/gpu/xl_1

Run it in the checkout that is transferred. It makes build/gpu/s/1, build/gpu/s/2, ..., which git ignores. They hold the
wheels that the machine lacks, the packed images, and the preset to start from. Prints the folders. docs/gpu.md says how
they are used.

The data folder has install.py, cifar10/ and tiny-imagenet/. A transfer takes --limit MiB, including the files of the
checkout.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys

OUT = pathlib.Path("build/gpu")
MIB = 2**20
SPARE, LEAST = MIB, 16 * MIB
# The requirements of `import keras_coda` that the machine lacks, for its Python.
WHEELS = ("keras==3.15.1", "optree==0.20.0", "namex==0.1.0")
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
DATA = {
    "s": ["install.py", "cifar10/*.webp"],
    "xl": [
        "install.py",
        "tiny-imagenet/annotations.tar.xz",
        "tiny-imagenet/headers.npz",
        "tiny-imagenet/manifest.json",
        "tiny-imagenet/*.scans",
    ],
}


def wheels(folder):
    """The wheels in a folder. Missing ones are downloaded."""
    if len(list(folder.glob("*.whl"))) < len(WHEELS):
        options = ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
        platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "download", "-q", *options, *platforms, "-d", str(folder), *WHEELS]
        subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


def wanted(run, data, start, wheels):
    """All files that a run needs, as `(path, place in the folders)`: first the script that unpacks, then by size."""
    files = [(path, pathlib.Path("wheels", path.name)) for path in wheels]
    for pattern in DATA[run]:
        found = sorted(data.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{data} has no {pattern}")
        files += [(path, "data" / path.relative_to(data)) for path in found]
    images = len(found)
    small, large = files[:-images], files[-images:]
    if start is not None:
        large += [(path, pathlib.Path("start", path.name)) for path in sorted(start.iterdir()) if path.is_file()]
    return small + sorted(large, key=lambda file: -file[0].stat().st_size)


def parcels(sizes, limit):
    """Distribute items over folders of at most `limit` each: lists of indices. Each goes into the first with room.

    Raises:
        ValueError: one is larger than `limit`.
    """
    found: list[list[int]] = []
    left: list[int] = []
    for index, size in enumerate(sizes):
        if size > limit:
            raise ValueError(f"Expected files of at most {limit:,} bytes. Received: one of {size:,}")
        place = next((number for number, room in enumerate(left) if size <= room), len(found))
        if place == len(found):
            found.append([])
            left.append(limit)
        found[place].append(index)
        left[place] -= size
    return found


def travelling():
    """Bytes of the checkout, which is part of every transfer: all files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return sum(path.lstat().st_size for path in map(pathlib.Path, filter(None, names)) if path.exists())


def main(arguments=None):
    """Lay out the folders of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=sorted(DATA), help="s: with CIFAR-10; xl: with TinyImageNet")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of packed data sets")
    parser.add_argument("--start", type=pathlib.Path, help="folder of the preset to start from")
    parser.add_argument("--limit", type=float, default=64, help="MiB of a transfer (default: %(default)s)")
    arguments = parser.parse_args(arguments)
    checkout = travelling()
    limit = int(arguments.limit * MIB) - checkout - SPARE
    print(f"The checkout: {checkout / MIB:.1f} MiB, so that {limit / MIB:.1f} MiB can go with it")
    if limit < LEAST:
        parser.error(
            f"too little can go with the checkout. Expected: at least {LEAST / MIB:.0f} MiB. "
            "Leave large weights out: git sparse-checkout set --no-cone '/*' '!*.h5' '!*.h5.*'; "
            "and back: git sparse-checkout disable"
        )
    files = wanted(arguments.run, arguments.data, arguments.start, wheels(OUT / "wheels"))
    shutil.rmtree(OUT / arguments.run, ignore_errors=True)
    sizes = [path.stat().st_size for path, _ in files]
    for number, indices in enumerate(parcels(sizes, limit), start=1):
        folder = OUT / arguments.run / str(number)
        for path, place in (files[index] for index in indices):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / place)
        print(f"{folder}: {sum(sizes[index] for index in indices) / MIB:.1f} MiB, {len(indices)} files")


if __name__ == "__main__":
    main()
