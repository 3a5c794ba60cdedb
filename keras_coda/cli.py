"""The command line, `keras-coda`: its parser, and how it ends."""

import _thread
import argparse
import functools
import pathlib
import re
import sys
import threading
import warnings
from collections.abc import Sequence

import keras

from keras_coda import backend
from keras_coda.commands import demo, evaluate, explain, explain_video, export, presets, recipe, train
from keras_coda.commands.output import complain
from keras_coda.version import __version__

DESCRIPTION = """\
CoDA-Nets: image classifiers that explain themselves.

A CoDA-Net computes its logits as W(x) x + b0, with a matrix W(x) that depends on the image, and a fixed b0. So each
logit is b0 plus the contributions of the image's pixels. Start with:

  keras-coda demo

The Keras backend (tensorflow, jax or torch) is set by the environment variable KERAS_BACKEND. The default is the one
in ~/.keras/keras.json, or else the first one that is installed."""

COMMANDS = {
    "demo": demo,
    "explain": explain,
    "explain-video": explain_video,
    "evaluate": evaluate,
    "export": export,
    "presets": presets,
    "train": train,
    "recipe": recipe,
}


def show_warning(said, message, category, filename, lineno, file=None, line=None):
    """Show a warning of this package as one line for each of its own, and others as Python does. Each is said once."""
    if str(message) in said:
        return
    said.add(str(message))
    if pathlib.Path(filename).is_relative_to(pathlib.Path(__file__).parent):
        for text in str(message).splitlines():
            complain(text)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="", flush=True)


def interrupt_again(unraisable):
    """Interrupt a moment later where Python ignores Ctrl-C, as in what JAX calls at each garbage collection."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.1, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)


def parser():
    """The argument parser of `keras-coda`."""
    root = argparse.ArgumentParser(
        prog="keras-coda", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    version = f"keras-coda {__version__} (Keras {keras.__version__}, {keras.backend.backend()})"
    root.add_argument("--version", action="version", version=version, help="print the versions and the backend")
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            help=" ".join(module.DESCRIPTION.split()).replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `keras-coda` and return its exit status.

    0; 2 after a wrong input, or a file not read; 130 when stopped; 141 when what it prints is read no further.
    """
    parsed = parser().parse_args(arguments)
    backend.keep_compiled()
    former, sys.unraisablehook = sys.unraisablehook, interrupt_again
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(show_warning, set())
            return parsed.run(parsed) or 0
    except KeyboardInterrupt:
        print("keras-coda: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as by `| head`
        return 141
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        # Where Keras has added the arguments of a call to a message, the message is between escape codes.
        message = re.search("\x1b\\[1m(.*)\x1b\\[0m", str(error), re.DOTALL)
        complain(message[1] if message else error)
        return 2
    finally:
        sys.unraisablehook = former


if __name__ == "__main__":
    sys.exit(main())
