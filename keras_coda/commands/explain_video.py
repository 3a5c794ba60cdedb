"""The command `keras-coda explain-video`, which writes a video of explanations."""

import pathlib

from keras_coda import explanations, presets
from keras_coda.commands.arguments import add_out, add_preset, target_of
from keras_coda.commands.output import say

DESCRIPTION = """\
Explains a video, an animation or a folder of images frame by frame, and writes a video with every frame beside its
weights and contributions, all on one scale. Formats other than GIF and WebP need pip install "keras-coda[video]"."""

EXAMPLES = """\
examples:
  keras-coda explain-video goldfinch.mp4 --preset ./my_preset --target goldfinch --out explained.mp4
  keras-coda explain-video frames/ --out explained.gif --fps 12"""


def add_arguments(command):
    """Add the arguments of `keras-coda explain-video` to its parser."""
    command.add_argument("video", type=pathlib.Path, help="a video or animation, or a folder of images")
    add_preset(command)
    command.add_argument("--target", help="name of the class to explain (default: the one predicted for each frame)")
    add_out(command, "explained.gif", "file to write")
    command.add_argument("--fps", type=float, help="frames a second (default: those of the video, or 10)")


def run(arguments):
    """Explain a video."""
    metadata = presets.metadata(arguments.preset)
    target = target_of(arguments.target, metadata["classes"])
    count = explanations.explain_video(
        presets.load(arguments.preset),
        arguments.video,
        arguments.out,
        target=target,
        classes=metadata["classes"],
        image_shape=tuple(metadata["image_shape"]),
        unit_range=True,
        frames_a_second=arguments.fps,
        verbose=1,
    )
    say(f"Wrote {arguments.out}, {count} frames")
