"""The command `keras-coda train`, which trains a network by a recipe."""

import dataclasses
import pathlib

from keras_coda import backend, data, training
from keras_coda.commands.arguments import DIGITS
from keras_coda.commands.output import say
from keras_coda.commands.recipe import add_images, recipe_of

DESCRIPTION = """\
Trains a network by a recipe and saves it as a preset folder for `keras-coda explain --preset` and
`keras_coda.presets.load`. A second folder gets the logs: a table of the epochs, and pictures of how the contribution
maps of a few test images sharpen. After an interruption or a kill the same command resumes after the last whole epoch,
with the same losses."""

EXAMPLES = """\
examples:
  keras-coda train --out my_digits
  keras-coda train my_recipe.json --out my_preset --epochs 5
  keras-coda train s_coda_cifar10 --limit-minutes 30 --tensorboard
  keras-coda train --images photos/ --out my_photos
  keras-coda train --images photos/ --out my_photos --start xs_coda_cifar10 --freeze dau_1 dau_2
  keras-coda train my_recipe.json --out my_preset --devices 2
  keras-coda train my_recipe.json --out my_preset --start ./preset_of_a_lower_temperature"""


def add_arguments(command):
    """Add the arguments of `keras-coda train` to its parser."""
    command.add_argument(
        "recipe",
        nargs="?",
        help=f"a name, see keras-coda recipe, or JSON file (default: {DIGITS}, or one for the --images)",
    )
    add_images(command)
    command.add_argument(
        "--out", type=pathlib.Path, help="preset folder to write (default: the recipe's name, for photos my_ before it)"
    )
    command.add_argument("--epochs", type=int, help="in place of the recipe's")
    command.add_argument("--devices", type=number_or_all, help='how many share each batch, or "all" (default: one)')
    command.add_argument(
        "--start", help="a preset's name or folder, whose weights to start from (default: random ones)"
    )
    command.add_argument("--data-dir", type=pathlib.Path, help="where TFDS keeps its data (default: its own)")
    command.add_argument("--logs", type=pathlib.Path, help="folder of logs (default: that of the preset, with .logs)")
    command.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard, too")
    command.add_argument("--limit-minutes", type=float, help="train as many epochs as fit, with the whole schedule")
    command.add_argument("--overwrite", action="store_true", help="replace the preset folder if it is there")


def run(arguments):
    """Train by a recipe, or by one chosen for a folder of photos."""
    if arguments.images is None and arguments.recipe is None:
        arguments.recipe = DIGITS
    recipe = recipe_of(arguments)
    # A recipe for photos has the name of their folder, which may be here.
    name = f"my_{recipe.name}" if data.dataset.is_photos(recipe.dataset) else recipe.name
    out = pathlib.Path(name) if arguments.out is None else arguments.out
    logs = out.parent / f"{out.name}.logs" if arguments.logs is None else arguments.logs
    names = {field.name for field in dataclasses.fields(training.Options)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    _, results = training.train(recipe, out, training.Options(**{**given, "logs": logs}))
    if backend.process()[0] != 0:
        return
    for name, value in results.items():
        say(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    say(f"Wrote {out}, and logs to {logs}")
    say(f"Explain an image with it: keras-coda explain IMAGE --preset {out.resolve()}")


def number_or_all(text):
    return text if text == "all" else int(text)
