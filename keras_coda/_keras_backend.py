"""Choose an installed Keras backend before Keras is imported."""

import importlib.util
import json
import os
import pathlib
import sys

# What each backend is imported as, Keras' own default first.
BACKENDS = ("tensorflow", "jax", "torch")


def _configured():
    """The backend that Keras would use: KERAS_BACKEND, then its configuration file, then TensorFlow."""
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    home = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    try:
        return json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError):
        return BACKENDS[0]


def choose():
    """Select the first installed backend where the user chose none and Keras' default is not installed.

    Raises:
        ImportError: no backend is installed, or the one that KERAS_BACKEND names is not.
    """
    if "keras" in sys.modules:
        return
    configured = _configured()
    if configured not in BACKENDS or importlib.util.find_spec(configured):
        return
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend)]
    if not installed:
        raise ImportError(
            f"keras-coda needs a Keras backend, one of {', '.join(BACKENDS)}, and found none. "
            'Install one, for example: pip install "keras-coda[jax]"'
        )
    if os.environ.get("KERAS_BACKEND"):
        raise ImportError(
            f"KERAS_BACKEND is {configured!r}, which is not installed. Installed: {', '.join(installed)}."
        )
    os.environ["KERAS_BACKEND"] = installed[0]
