"""The command `keras-coda export`, which writes a preset to a file for other programs."""

import pathlib

from keras_coda import exporting, presets
from keras_coda.backend.conventions import channels_last, in_format
from keras_coda.commands.output import say
from keras_coda.exporting.export import INPUT_DTYPES

DESCRIPTION = """\
Writes a preset to a file for other programs. The file returns an exact explanation with every prediction. Formats are
.onnx, .tflite (LiteRT), .pt2 (torch.export), or a folder (SavedModel). docs/export.md says which formats each Keras
backend can write, and which packages that needs. An existing file is replaced."""

EXAMPLES = """\
examples:
  keras-coda export ./my_photos my_photos.onnx
  keras-coda export xs_coda_cifar10 cifar10.onnx --explain cat dog --weights float16"""


def add_arguments(command):
    """Add the arguments of `keras-coda export` to its parser."""
    command.add_argument("preset", help="name or folder of a preset")
    command.add_argument("file", type=pathlib.Path, help="file to write; its suffix is the format")
    command.add_argument(
        "--explain",
        nargs="+",
        default=["predicted"],
        metavar="CLASS",
        help='classes that get a contribution map, or "all" (default: the predicted class)',
    )
    command.add_argument("--size", type=int, help="height and width of the images (default: the preset's)")
    command.add_argument("--input-dtype", default="float32", choices=INPUT_DTYPES, help="(default: %(default)s)")
    command.add_argument(
        "--weights", default="float32", choices=("float32", "float16", "int8"), help="(default: %(default)s)"
    )


def run(arguments):
    """Export a preset."""
    facts = presets.metadata(arguments.preset)
    shape, data_format, explain = facts["image_shape"], facts["data_format"], arguments.explain
    if arguments.size is not None:
        channels = channels_last(shape, data_format)[-1]
        shape = in_format((arguments.size, arguments.size, channels), data_format)
    path = exporting.export(
        presets.load(arguments.preset, dtype="float32"),
        arguments.file,
        explain[0] if explain in (["predicted"], ["all"]) else explain,
        classes=facts["classes"],
        image_shape=shape,
        input_dtype=arguments.input_dtype,
        unit_range=True,
        weights=arguments.weights,
    )
    say(f"Wrote {path}: {' x '.join(map(str, shape))} images to {len(facts['classes'])} classes, with their maps")
