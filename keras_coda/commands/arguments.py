"""Arguments that several commands take."""

import argparse
import pathlib
from collections.abc import Sequence

DIGITS = "xs_coda_digits"


def add_preset(command: argparse.ArgumentParser) -> None:
    """Add `--preset`, by default a small one for digits, which comes with the package."""
    command.add_argument("--preset", default=DIGITS, help="a name, a folder or hf://user/repo (default: %(default)s)")


def add_out(command: argparse.ArgumentParser, default: str, what: str) -> None:
    """Add `--out`, the file or folder to write."""
    command.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path(default), help=f"{what} (default: %(default)s)"
    )


def target_of(name: str | None, classes: Sequence[str]) -> int | None:
    """The index of the class that --target names; `None` without --target."""
    if name is not None and name not in classes:
        raise ValueError(f"--target must be one of {', '.join(classes)}. Received: {name}")
    return None if name is None else classes.index(name)
