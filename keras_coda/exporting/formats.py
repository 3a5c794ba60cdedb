"""The export formats, and the module that writes and reads each."""

import dataclasses
import importlib
import json
import os
import pathlib
from typing import Any

import keras

# The metadata key, or the file name, under which the facts are stored as JSON.
KEY = "keras_coda"
FILE = "keras_coda.json"


@dataclasses.dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        name: Keras' name for the format.
        suffix: suffix of its files; "" for folders.
        backends: the Keras backends that can write it.
        module: name of its module in `keras_coda.exporting`. The module has three functions:
            `write(model, path, signature, weights, **arguments)` writes the file by Keras, `finish(path, facts)` adds
            the facts, and `read(path)` returns them as text.
        weights: the dtypes in which the weights can be stored.
        arguments: names of further arguments that Keras takes for it. `None`: Keras itself refuses unknown ones.
    """

    name: str
    suffix: str
    backends: tuple[str, ...]
    module: str
    weights: tuple[str, ...] = ("float32",)
    arguments: tuple[str, ...] | None = ()

    def load(self):
        """Import and return the module.

        Raises:
            ImportError: a package is not installed.
        """
        try:
            return importlib.import_module(f"keras_coda.exporting.{self.module}")
        except ImportError as error:
            raise ImportError(
                f"The format {self.name!r} needs an extra ({error}): "
                'pip install "keras-coda[export]", or "keras-coda[export-jax]" on JAX'
            ) from error


FORMATS = {
    form.name: form
    for form in (
        Format(
            "onnx",
            ".onnx",
            ("tensorflow", "jax", "torch"),
            "onnx_file",
            ("float32", "float16", "int8"),
            ("opset_version",),
        ),
        Format("tf_saved_model", "", ("tensorflow", "jax"), "saved_model", arguments=("is_static", "jax2tf_kwargs")),
        Format(
            "litert",
            ".tflite",
            ("tensorflow",),
            "litert_file",
            ("float32", "float16", "int8"),
            arguments=None,
        ),
        Format("torch", ".pt2", ("torch",), "torch_file", arguments=("dynamic_shapes", "strict")),
    )
}
"""All formats by name."""


def find(path: str | os.PathLike, name: str | None = None) -> Format:
    """Return the `Format` called `name`, by default the one that the path's suffix names.

    Raises:
        ValueError: there is no such format, the suffix belongs to another format, or the active backend cannot write
            the format.
    """
    suffix = pathlib.Path(path).suffix
    if name is None:
        known = {form.suffix: form for form in FORMATS.values()}
        if suffix not in known:
            raise ValueError(f"`path` must end in one of {[*known]}, or give `format`. Received: {str(path)!r}")
        form = known[suffix]
    elif name in FORMATS:
        form = FORMATS[name]
    else:
        raise ValueError(f"`format` must be one of {[*FORMATS]}. Received: {name!r}")
    if suffix != form.suffix and (form.suffix or suffix in {other.suffix for other in FORMATS.values()}):
        raise ValueError(f"A path of the format {form.name!r} must end in {form.suffix!r}. Received: {str(path)!r}")
    backend = keras.backend.backend()
    if backend not in form.backends:
        raise ValueError(
            f"The format {form.name!r} is written with the Keras backends {form.backends}. Received: {backend!r}, "
            f"which writes {[other.name for other in FORMATS.values() if backend in other.backends]}"
        )
    return form


def metadata_of(path: str | os.PathLike) -> dict[str, Any]:
    """Read the metadata of an exported file: class names, shapes, the value range and more.

    Args:
        path: a file or folder that `export` wrote, in any format.

    Returns:
        A dict. Its entries are listed at `export`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `export` did not write this file.
        ImportError: the package that reads the format is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> keras_coda.export(model, "digits.onnx", image_shape=(16, 16, 1))
    >>> keras_coda.exporting.metadata_of("digits.onnx")["classes"][3]
    '3'
    """
    path = pathlib.Path(path).expanduser()
    # The name of a folder, such as "net-1.0", may have a dot.
    suffix = "" if path.is_dir() else path.suffix
    form = next((form for form in FORMATS.values() if form.suffix == suffix), None)
    if form is None:
        raise ValueError(f"`path` must end in one of {[f.suffix for f in FORMATS.values()]}. Received: {str(path)!r}")
    module = form.load()
    if not path.exists():
        raise FileNotFoundError(f"`path` must be an exported file. Received: {str(path)!r}, which does not exist")
    try:
        return json.loads(module.read(path))
    except Exception as error:  # the formats' readers raise errors of many types
        raise ValueError(
            f"`path` must be a file that `keras_coda.export` wrote. Received: {str(path)!r}, in which there are no "
            "metadata of it"
        ) from error
