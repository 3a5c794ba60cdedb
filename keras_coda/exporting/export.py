"""`export` writes a model and its explanation to one file."""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_coda.backend.conventions import channels_last, in_format, probe
from keras_coda.checks import pair
from keras_coda.exporting import formats
from keras_coda.exporting.explained_model import OUTPUTS, PROBABILITIES, ExplainedModel
from keras_coda.files import beside, move_folder, written_whole
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.layout import data_format as format_of
from keras_coda.version import __version__

SIZE = ("height", "width")
INPUT_DTYPES = ("float32", "uint8")
# What a SavedModel holds. A folder that holds anything else is not replaced.
SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra")


def export(
    model: keras.Model,
    path: str | os.PathLike,
    explain: str | Sequence[int | str] = "predicted",
    *,
    classes: Sequence[str] | None = None,
    image_shape: Sequence[int | None] | None = None,
    input_dtype: str = "float32",
    unit_range: bool = False,
    weights: str = "float32",
    probabilities: str = "sigmoid",
    format: str | None = None,
    **kwargs: Any,
) -> pathlib.Path:
    """Write a model to a file that returns an exact explanation with every prediction.

    From `images (N, H, W, C)` the file computes, in float32:

        logits            (N, classes)
        probabilities     (N, classes)
        contribution_map  (N, H, W) for the class with the largest logit, or (N, K, H, W) for K classes (paper, eq. 8)
        residual          (N,) or (N, K): logit - bias - sum of the map; zero up to rounding

    The file also contains a JSON object, which `metadata_of` reads. Its entries are:

        name, keras_coda_version
        classes              names, in the order of the logits
        explained            "predicted", or the indices of the explained classes
        image_shape          without the batch axis; `None` for any height or width
        image_size           height and width of the training images: the model's `image_size`, or else those of its
                             input shape, or else `None`. Scale images to this size: logits grow with the area.
        input_dtype, data_format, probabilities, weights
        value_range          of the images; `None`: as the model takes them
        inputs, outputs      names and axes

    docs/export.md says where each format stores it, and what was measured.

    The model is not changed. Exported graphs use the contraction "direct", whatever is set. The file appears as a whole
    or not at all.

    Args:
        model: a CoDA-Net, or any built model in float32 that `keras_coda.explain` takes, with outputs `(N, classes)`.
        path: where to write. The suffix selects the format: .onnx, .tflite (LiteRT), .pt2 (`torch.export`), or none for
            TensorFlow's SavedModel, which is a folder. An existing file or SavedModel is replaced.
        explain: the classes that get a contribution map: "predicted", "all", or a list of indices or names.
        classes: strings, the class names. Default: the model's `class_names`, or the class numbers if it has none.
        image_shape: shape of the images without the batch axis, with `None` for any height or width. Default: the
            model's input shape, in which the size of the training images replaces `None` if it is known.
        input_dtype: "float32", or "uint8" for images in 0..255. CoDA-Nets and models that begin with an
            `InputEncoding` take floats in [0, 1], and integers are divided by 255. Other models, such as hybrids whose
            stem scales images itself, get floats and integers unscaled, unless `unit_range` is set.
        unit_range: set it for any other model that takes images in [0, 1], as those of presets do. Integers are then
            divided by 255.
        weights: how the file stores the weights: "float32", "float16" or "int8" (one scale per filter). The file always
            computes in float32.
        probabilities: "sigmoid" (paper, eq. 9) or "softmax".
        format: one of `FORMATS`. Default: the format of the suffix.
        **kwargs: further arguments for `keras.Model.export`, such as `opset_version` for ONNX.

    Returns:
        The path, a `pathlib.Path`.

    Raises:
        NotDynamicLinearError: the model cannot be explained.
        ValueError: an argument or an attribute of the model does not have the form above, the model has several sources
            of contributions, the path is a folder of something else, the active backend cannot write the format, the
            format cannot store these weights or so many of them, or a layer cannot be written to ONNX for images of any
            size.
        TypeError: an argument is unknown.
        ImportError: a package that the format needs is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> keras_coda.export(model, "digits.onnx", explain="all")
    """
    form = formats.find(path, format)
    if form.arguments is not None and (unknown := sorted(kwargs.keys() - {"verbose", *form.arguments})):
        raise TypeError(f"`export` has no arguments {unknown} for the format {form.name!r}. Expected: {form.arguments}")
    path = pathlib.Path(path).expanduser()
    target = path.resolve()
    _check_target(target, form)
    _check_model(model)
    graph = Graph.of(model)
    _check_dtypes(graph.operations)
    for name, value, known in (
        ("input_dtype", input_dtype, INPUT_DTYPES),
        ("probabilities", probabilities, PROBABILITIES),
        ("weights", weights, form.weights),
    ):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known} for the format {form.name!r}. Received: {value!r}")
    names = _class_names(classes, model)
    explained = _explained(explain, names)
    data_format = format_of(graph, graph.inputs[0])
    image_size = _image_size(model, data_format)
    shape = _image_shape(image_shape, model.input_shape[1:], image_size, data_format)
    module = form.load()
    explained_model = ExplainedModel(model, explained, probabilities, unit_range)
    explained_model.check(probe(shape), input_dtype)
    facts = {
        "name": model.name,
        "classes": names,
        "explained": explained,
        "image_shape": shape,
        "image_size": image_size,
        "input_dtype": input_dtype,
        "value_range": [0, 255] if input_dtype == "uint8" else [0, 1] if explained_model.in_unit_range else None,
        "data_format": data_format,
        "probabilities": probabilities,
        "weights": weights,
        "inputs": {"images": ["batch", *_named(shape, in_format((*SIZE, "channels"), data_format))]},
        "outputs": _outputs(explained_model, shape, data_format, explained, len(names)),
        "keras_coda_version": __version__,
    }
    signature = [keras.layers.InputSpec(shape=(None, *shape), dtype=input_dtype, name="images")]
    with tempfile.TemporaryDirectory() as folder:
        # With its name, which some formats write into the file.
        complete = pathlib.Path(folder, target.name)
        module.write(explained_model, complete, signature, weights, **{"verbose": False, **kwargs})
        module.finish(complete, facts)
        _put(complete, target)
    return path


def _check_target(target, form):
    """Raise an error if another thing than an exported one would be replaced."""
    if form.suffix and target.is_dir():
        raise ValueError(f"The format {form.name!r} is a file. Received: {str(target)!r}, which is a folder")
    if not form.suffix and target.exists():
        found = [*target.iterdir()] if target.is_dir() else [target]
        others = sorted(entry.name for entry in found if entry.name not in SAVED_MODEL)
        if others:
            raise ValueError(
                f"The format {form.name!r} needs a new folder, or a SavedModel that it replaces. "
                f"Received: {str(target)!r}, where there is {others[:5]}"
            )


def _put(complete, target):
    """Copy a complete file or folder to its place. It appears there as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if complete.is_file():
        with open(complete, "rb") as source, written_whole(target, binary=True) as file:
            shutil.copyfileobj(source, file)
        return
    partial = beside(target)
    try:
        shutil.copytree(complete, partial)
        move_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_model(model):
    known = isinstance(model, keras.Model) and model.built
    if not known or not isinstance(getattr(model, "output_shape", None), tuple):
        raise ValueError(f"Expected a built Keras model with one output. Received: {model!r}")
    if len(model.output_shape) != 2 or not isinstance(model.input_shape, tuple) or len(model.input_shape) != 4:
        raise ValueError(
            "Expected a model of images of 3 axes to (N, classes) logits. "
            f"Received: inputs {model.input_shape}, outputs {model.output_shape}"
        )


def _check_dtypes(operations):
    dtypes = {str(getattr(operation, "compute_dtype", "")) for operation in operations}
    others = sorted(dtypes & {"float16", "bfloat16", "float64"})
    if others:
        raise ValueError(
            f"Expected a model in float32, such as presets.load(name, dtype='float32'). Received: layers in {others}"
        )


def _class_names(classes, model):
    """The names of the classes, in the order of the logits."""
    count, argument = model.output_shape[-1], "`classes`"
    if classes is None:
        classes, argument = getattr(model, "class_names", None), "`model.class_names`"
    if classes is None:
        return [str(number) for number in range(count)]
    names = [*classes] if np.iterable(classes) and not isinstance(classes, str) else []
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument} must be {count} names, one for each logit. Received: {classes!r}")
    return names


def _image_size(model, data_format):
    """Height and width of the training images, or `None` if unknown."""
    *taken, _ = channels_last(model.input_shape[1:], data_format)
    size = getattr(model, "image_size", None)
    if size is None:
        return None if None in taken else [*taken]
    size = pair(size, "model.image_size")
    if any(t not in (None, s) for t, s in zip(taken, size, strict=True)):
        raise ValueError(f"`model.image_size` must fit the model's inputs, {model.input_shape}. Received: {size}")
    return [*size]


def _explained(explain, names):
    """The explained classes as a list of indices, or "predicted"."""
    if isinstance(explain, str):
        if explain not in ("predicted", "all"):
            raise ValueError(f'`explain` must be "predicted", "all" or a list of classes. Received: {explain!r}')
        return explain if explain == "predicted" else [*range(len(names))]
    # A name that several classes have is no index, either.
    indices = [names.index(c) if names.count(c) == 1 else c for c in explain] if np.iterable(explain) else []
    right = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) and 0 <= i < len(names) for i in indices)
    if not indices or not right:
        raise ValueError(
            f"`explain` must list classes, by unique names of {names} or in 0..{len(names) - 1}. Received: {explain!r}"
        )
    return [int(i) for i in indices]


def _image_shape(image_shape, taken, image_size, data_format):
    if image_shape is None:
        known = in_format((*(image_size or (None, None)), None), data_format)
        return [size if t is None else t for t, size in zip(taken, known, strict=True)]
    shape = [*image_shape] if np.iterable(image_shape) else []
    right = len(shape) == len(taken) and all(t in (None, s) for s, t in zip(shape, taken, strict=True))
    if not right or not all(s is None or (isinstance(s, (int, np.integer)) and s > 0) for s in shape):
        raise ValueError(
            f"`image_shape` must be of the form {tuple(taken)}, with sizes of at least 1. Received: {image_shape!r}"
        )
    return [None if s is None else int(s) for s in shape]


def _outputs(explained_model, shape, data_format, explained, count):
    """The names of the outputs, each with its axes."""
    size = explained_model.map_size(shape)
    tried = probe(shape)
    # Axes of maps and images have the same names only if they always have the same lengths.
    whole = explained_model.map_size(tried) == [*channels_last(tried, data_format)[:2]]
    size = _named(size, SIZE if whole else ("map_height", "map_width"))
    several = [] if explained == "predicted" else [len(explained)]
    axes = (["batch", *several, *size], ["batch", count], ["batch", count], ["batch", *several])
    return dict(zip(OUTPUTS, axes, strict=True))


def _named(shape, names):
    """A shape in which a name replaces each `None`."""
    return [name if length is None else length for name, length in zip(names, shape, strict=True)]
