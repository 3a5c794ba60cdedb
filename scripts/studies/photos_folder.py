"""Make folders of photos for trying `keras-coda train --images`, from TinyImageNet's training images or CIFAR-10.

    python scripts/studies/photos_folder.py ~/tensorflow_datasets/downloads/manual/tiny-imagenet-200 OUT
    python scripts/studies/photos_folder.py cifar10 OUT

The first writes OUT/photos, ten classes of 50 to 500 images; OUT/messy, a copy with files that are damaged, misnamed,
rotated, gray, huge or no images at all; and OUT/other, five more classes of 60 training and 100 test images. The second
writes OUT/cifar10, ten classes of 60 training and 100 test images.
"""

import argparse
import pathlib
import shutil

import numpy as np
from PIL import Image

from keras_coda import data

CLASSES = {
    "red panda": ("n02509815", 500),
    "ladybug": ("n02165456", 500),
    "lion": ("n02129165", 400),
    "abacus": ("n02666196", 350),
    "elephant": ("n02504458", 300),
    "brown bear": ("n02132136", 250),
    "bee": ("n02206856", 200),
    "bison": ("n02410509", 150),
    "chimpanzee": ("n02481823", 100),
    "tabby": ("n02123045", 50),
}
# Egyptian cat, fly, gazelle, orangutan, baboon.
OTHERS = ["n02124075", "n02190166", "n02423022", "n02480495", "n02486410"]


def make_photos(source, out):
    """The first images of each class."""
    for name, (wnid, count) in CLASSES.items():
        (out / name).mkdir(parents=True)
        for path in sorted((source / "train" / wnid / "images").glob("*.JPEG"))[:count]:
            shutil.copy(path, out / name / path.name)


def make_messy(photos, out, seed=0):
    """A copy with some changed files in each class. A correct reader finds all of its photos."""
    shutil.copytree(photos, out)
    rng = np.random.default_rng(seed)
    (out / "notes.txt").write_text("Not a class.")
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        files = [folder / path.name for path in rng.permutation(sorted(folder.iterdir()))[:10]]
        content = files[0].read_bytes()
        files[0].write_bytes(content[: len(content) // 2])
        files[1].write_bytes(rng.bytes(1000))
        files[2].write_bytes(b"")
        with Image.open(files[3]) as image:
            image.convert("L").save(files[3], "JPEG", quality=95)
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(files[4]) as image:
            image.rotate(90, expand=True).convert("RGB").save(files[4], "JPEG", quality=95, exif=exif)
        with Image.open(files[5]) as image:
            image.convert("RGB").resize((4000, 3000)).save(files[5], "JPEG", quality=90)
        with Image.open(files[6]) as image:
            image.convert("CMYK").save(files[6], "JPEG", quality=95)
        with Image.open(files[7]) as image:
            image.convert("RGBA").save(files[7], "PNG")  # The name still ends in .JPEG.
        shutil.copy(files[8], folder / "copy.jpg")
        with Image.open(files[9]) as image:
            deep = np.asarray(image.convert("L")).astype("uint16") * 257
            Image.fromarray(deep).save(folder / "deep.png")
        Image.new("RGB", (64, 64), "white").save(folder / f"blank {folder.name}.png")
        (folder / "Thumbs.db").write_bytes(rng.bytes(100))
        (folder / ".hidden").write_text("")


def make_other(source, out):
    """A folder with a split of its own."""
    for wnid in OTHERS:
        files = sorted((source / "train" / wnid / "images").glob("*.JPEG"))
        for part, chosen in (("train", files[:60]), ("test", files[60:160])):
            (out / part / wnid).mkdir(parents=True)
            for path in chosen:
                shutil.copy(path, out / part / wnid / path.name)


def make_cifar10(out):
    """The first images of each class, in their order, with a split of its own."""
    dataset = data.load("cifar10")
    for part, images, labels, count in (
        ("train", dataset.x_train, dataset.y_train, 60),
        ("test", dataset.x_test, dataset.y_test, 100),
    ):
        for label, name in enumerate(dataset.classes):
            (out / part / name).mkdir(parents=True)
            for number in np.flatnonzero(labels == label)[:count]:
                Image.fromarray(images[number]).save(out / part / name / f"{number:05}.png")


def main(arguments=None):
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help='the folder tiny-imagenet-200, or "cifar10"')
    parser.add_argument("out", type=pathlib.Path)
    parsed = parser.parse_args(arguments)
    if parsed.source == "cifar10":
        make_cifar10(parsed.out / "cifar10")
        return
    source = pathlib.Path(parsed.source)
    make_photos(source, parsed.out / "photos")
    make_messy(parsed.out / "photos", parsed.out / "messy")
    make_other(source, parsed.out / "other")


if __name__ == "__main__":
    main()
