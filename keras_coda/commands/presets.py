"""The command `keras-coda presets`, which lists presets."""

import json

from keras_coda import presets
from keras_coda.commands.output import say

DESCRIPTION = "Lists the presets, or prints the metadata of one: data set, classes, input, measured results."
EXAMPLES = None


def add_arguments(command):
    """Add the arguments of `keras-coda presets` to its parser."""
    command.add_argument("preset", nargs="?", help="a name, a folder or hf://user/repo")


def run(arguments):
    """List presets, or print the metadata of one."""
    if arguments.preset is not None:
        for line in json.dumps(presets.metadata(arguments.preset), indent=2).splitlines():
            say(line)
        return
    for info in presets.list_presets():
        weights = "released" if info.released else "weights not released"
        say(f"{info.name:22} {info.dataset:14} {info.classes:4} classes   {weights}")
        say(f"    {info.description}")
