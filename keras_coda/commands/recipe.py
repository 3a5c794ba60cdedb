"""The command `keras-coda recipe`, and the recipes of `keras-coda train`: for data sets and for folders of photos."""

import argparse
import dataclasses
import json
import pathlib
import sys
import warnings

from keras_coda import data, recipes
from keras_coda.backend.conventions import fits
from keras_coda.training.photo_recipes import adapted, recipe_for_photos, start_shape

DESCRIPTION = """\
Prints a recipe as JSON, or the names of all recipes. You can edit a recipe and pass it to `keras-coda train`. For a
folder of photos, network, image size and epochs depend on the size and number of the photos. Problems of the folder are
printed on the error output."""

EXAMPLES = """\
examples:
  keras-coda recipe
  keras-coda recipe xs_coda_cifar10 > mine.json
  keras-coda recipe --images photos/ > mine.json
  keras-coda train mine.json --out my_photos"""


def add_arguments(command):
    """Add the arguments of `keras-coda recipe` to its parser."""
    command.add_argument(
        "recipe", nargs="?", help="a name or JSON file (default with --images: one by their size and number)"
    )
    add_images(command)
    command.add_argument(
        "--start", help="a preset to start from, whose network and image shape are taken, not a recipe's"
    )


def run(arguments):
    """Print a recipe, or all names."""
    given = arguments.recipe, arguments.images, arguments.size, arguments.freeze, arguments.start
    if all(value is None for value in given):
        print("\n".join(recipes.built_in()))
        return
    if arguments.start is not None and (arguments.images is None or arguments.recipe is not None):
        raise ValueError(
            "--start is for --images without a recipe here: the network is that of the preset. Received: "
            f"--start {arguments.start}, --images {arguments.images} and recipe {arguments.recipe}"
        )
    print(json.dumps(dataclasses.asdict(recipe_of(arguments)), indent=2))


def add_images(command: argparse.ArgumentParser) -> None:
    """Add the arguments for a folder of photos to a command's parser."""
    command.add_argument(
        "--images",
        metavar="FOLDER",
        help="a folder of photos, FOLDER/CLASS/* or FOLDER/{train,validation,test}/CLASS/*",
    )
    command.add_argument(
        "--size", type=int, help="height and width to scale photos to (default: that of the --start, or by their size)"
    )
    command.add_argument("--freeze", nargs="+", metavar="LAYER", help='layers that are not trained, such as "dau_[12]"')


def recipe_of(arguments: argparse.Namespace) -> recipes.Recipe:
    """Return the recipe that a command names, or one for the folder `--images`."""
    if arguments.images is not None:
        recipe = _recipe_for_images(arguments)
    elif arguments.size is not None:
        raise ValueError(f"--size is for --images. Received: --size {arguments.size} without it")
    elif arguments.recipe is None:
        raise ValueError("Expected the name of a recipe, or --images. Received: neither")
    else:
        recipe = recipes.load(arguments.recipe)
    return recipe if arguments.freeze is None else dataclasses.replace(recipe, freeze=arguments.freeze)


def _recipe_for_images(arguments):
    """The recipe for the folder `--images`. A summary of the folder is printed on the error output."""
    # The recipe has its name.
    name = pathlib.Path(arguments.images).resolve().name
    if not arguments.images or not name or "\\" in name:
        raise ValueError(
            f"--images must be a folder of photos, of which the recipe has the name. Received: {arguments.images!r}"
        )
    base = None if arguments.recipe is None else recipes.load(arguments.recipe)
    if arguments.start is not None:
        shape = start_shape(arguments.start)
    else:
        shape = base.image_shape if base and base.image_shape else (None, None, 3)
    if arguments.size is not None:
        chosen = (arguments.size, arguments.size, shape[-1])
        if arguments.start is not None and not fits(shape, chosen):
            raise ValueError(
                f"--size is not for --start: photos get the size of the preset, here {shape[0]} x {shape[1]}. "
                f"Received: --size {arguments.size} --start {arguments.start}"
            )
        shape = chosen
    photos = data.Photos(arguments.images, shape)
    print(photos.summary(), file=sys.stderr, flush=True)
    # The summary has already named the problems.
    warnings.simplefilter("ignore", data.PhotosWarning)
    return recipe_for_photos(photos, arguments.start) if base is None else adapted(base, photos)
