"""The formats that models are exported to, and where each keeps what a client has to know."""

import dataclasses
import importlib
import json
import pathlib

import keras

# The key, or the file, under which the facts lie in JSON.
KEY = "keras_coda"
FILE = "keras_coda.json"


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: what Keras calls it.
        suffix: of its paths; "" for folders.
        backends: the Keras backends that write it.
        module: of `keras_coda.exporting`: has `write(model, path, signature, weights, **arguments)`, which has Keras
            write the file, `finish(path, facts)`, which completes it, and `read(path)`, which gives the facts.
        weights: in which dtypes it keeps weights here.
        packages: what pip calls what it needs, besides the backend.
        any_size: the backends with which a file takes images of any size.
    """

    name: str
    suffix: str
    backends: tuple[str, ...]
    module: str
    weights: tuple[str, ...] = ("float32",)
    packages: tuple[str, ...] = ()
    any_size: tuple[str, ...] = ()

    def load(self):
        """The module.

        Raises:
            ImportError: a package is not installed.
        """
        try:
            return importlib.import_module(f"keras_coda.exporting.{self.module}")
        except ImportError as error:
            packages = " ".join(self.packages)
            raise ImportError(
                f"The format {self.name!r} needs {packages}, and not all of it is installed: pip install {packages}"
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
            ("onnx", "onnx-ir", "onnxruntime"),
            any_size=("tensorflow", "torch"),
        ),
        Format("tf_saved_model", "", ("tensorflow", "jax"), "saved_model", any_size=("tensorflow",)),
        Format(
            "litert",
            ".tflite",
            ("tensorflow",),
            "litert_file",
            ("float32", "float16", "int8"),
            any_size=("tensorflow",),
        ),
        Format("torch", ".pt2", ("torch",), "torch_file"),
    )
}
"""The formats by their names, each with its suffix, and the backends and packages that write it."""


def find(path, name=None):
    """The `Format` called `name`, or that of the path's suffix, which the active backend must be able to write.

    Raises:
        ValueError: there is no such format, the suffix is another one's, or the backend does not write it.
    """
    suffix = pathlib.Path(path).suffix
    if name is None:
        known = {form.suffix: form for form in FORMATS.values()}
        if suffix not in known:
            raise ValueError(f"`path` must end in one of {[*known]}, or `format` name one. Received: {str(path)!r}")
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


def metadata_of(path):
    """What `export` wrote into a file for its clients: names of classes, shapes, the range of values.

    Args:
        path: what `export` wrote, of any format.

    Returns:
        A dict, see `export`.

    Raises:
        ValueError: the file is of no known format.
        ImportError: the package that reads the format is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> keras_coda.export(model, "digits.onnx", image_shape=(16, 16, 1))
    >>> keras_coda.exporting.metadata_of("digits.onnx")["classes"][3]
    '3'
    """
    suffix = pathlib.Path(path).suffix
    form = next((form for form in FORMATS.values() if form.suffix == suffix), None)
    if form is None:
        raise ValueError(f"`path` must end in one of {[f.suffix for f in FORMATS.values()]}. Received: {str(path)!r}")
    return json.loads(form.load().read(pathlib.Path(path)))
