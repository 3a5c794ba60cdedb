"""`export`: a model and its explanation as one file."""

import pathlib

import keras
import numpy as np

from keras_coda.exporting import formats
from keras_coda.exporting.explained_model import OUTPUTS, PROBABILITIES, ExplainedModel
from keras_coda.version import __version__

SIZE = ("height", "width")
INPUT_DTYPES = ("float32", "uint8")


def export(
    model,
    path,
    explain="predicted",
    *,
    classes=None,
    image_shape=None,
    input_dtype="float32",
    weights="float32",
    probabilities="sigmoid",
    format=None,
    **kwargs,
):
    """Write a model to a file that gives, with every answer, its exact explanation.

    What the file computes of `images (N, H, W, C)`, all in float32:

        logits            (N, classes)
        probabilities     (N, classes)
        contribution_map  (N, H, W) of the class with the largest logit, or (N, K, H, W) of K classes (paper, eq. 8)
        residual          (N,) or (N, K): logit - bias - sum of the map; zero up to rounding

    The file also holds the text of a JSON object: name, classes (names, in the order of the logits), explained
    ("predicted", or the classes' indices), image_shape (`None`: any size), input_dtype, value_range (`None`: as the
    model takes images), data_format, probabilities, weights, outputs (names and axes), keras_coda_version.
    `metadata_of` reads it; where it is in each format, and what was measured, is in docs/export.md.

    The model is not changed. What Keras exports computes by the contraction "direct", whatever is set.

    Args:
        model: a CoDA-Net, or any built model that `keras_coda.explain` takes, with outputs `(N, classes)`, in float32.
        path: where to write. Its suffix is the format: .onnx, .tflite (LiteRT), .pt2 (`torch.export`), or
            none (a folder, TensorFlow's SavedModel). A file that is there is replaced.
        explain: "predicted", "all", or a list of classes, indices or names: which have a contribution map.
        classes: strings, the classes' names. Default: their numbers.
        image_shape: shape of the images without the batch axis; `None` for any size is for SavedModel and LiteRT on
            TensorFlow alone. Default: as the model takes them.
        input_dtype: "float32", or "uint8", for images in 0..255. CoDA-Nets and models that begin with an
            `InputEncoding` take floats in [0, 1], and integers are divided by 255; others, such as hybrids of a stem
            with a scaling of its own, get both as they are.
        weights: "float32", "float16" or "int8" (one scale a filter): how the file keeps them. It computes in float32.
        probabilities: "sigmoid" (paper, eq. 9) or "softmax".
        format: one of `FORMATS`. Default: by the suffix.
        **kwargs: further arguments of `keras.Model.export` for the format.

    Returns:
        The path, a `pathlib.Path`.

    Raises:
        NotDynamicLinearError: the model cannot be explained.
        ValueError: an argument is not of the form above; the active backend does not write the format, or the format
            not these weights.
        ImportError: a package that the format needs is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> keras_coda.export(model, "digits.onnx", explain="all", image_shape=(16, 16, 1))
    """
    form = formats.find(path, format)
    path = pathlib.Path(path)
    _check_model(model)
    for name, value, known in (
        ("input_dtype", input_dtype, INPUT_DTYPES),
        ("probabilities", probabilities, PROBABILITIES),
        ("weights", weights, form.weights),
    ):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known} for the format {form.name!r}. Received: {value!r}")
    count = model.output_shape[-1]
    names = [str(number) for number in range(count)] if classes is None else [*classes]
    if isinstance(classes, str) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`classes` must be {count} names, one for each logit. Received: {classes!r}")
    explained = _explained(explain, names)
    shape = _image_shape(image_shape, model.input_shape[1:], form)
    module = form.load()
    explained_model = ExplainedModel(model, explained, probabilities)
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers)
    facts = {
        "name": model.name,
        "classes": names,
        "explained": explained,
        "image_shape": shape,
        "input_dtype": input_dtype,
        "value_range": [0, 255] if input_dtype == "uint8" else [0, 1] if explained_model.in_unit_range else None,
        "data_format": "channels_first" if first else "channels_last",
        "probabilities": probabilities,
        "weights": weights,
        "inputs": {"images": ["batch", *_named(shape, ("channels", *SIZE) if first else (*SIZE, "channels"))]},
        "outputs": _outputs(explained_model, shape, explained, count),
        "keras_coda_version": __version__,
    }
    signature = [keras.layers.InputSpec(shape=(None, *shape), dtype=input_dtype, name="images")]
    module.write(explained_model, path, signature, weights, **{"verbose": False, **kwargs})
    module.finish(path, facts)
    return path


def _check_model(model):
    if not (isinstance(model, keras.Model) and model.built and isinstance(model.output_shape, tuple)):
        raise ValueError(f"Expected a built Keras model with one output. Received: {model!r}")
    if len(model.output_shape) != 2 or not isinstance(model.input_shape, tuple) or len(model.input_shape) != 4:
        raise ValueError(
            "Expected a model of images of 3 axes to (N, classes) logits. "
            f"Received: inputs {model.input_shape}, outputs {model.output_shape}"
        )
    low = {layer.compute_dtype for layer in model.layers if layer.compute_dtype in ("float16", "bfloat16", "float64")}
    if low:
        raise ValueError(
            f"Expected a model in float32, such as presets.load(name, dtype='float32'). Received: layers in {[*low]}"
        )


def _explained(explain, names):
    """Which classes, as a list of integers, or "predicted"."""
    if isinstance(explain, str):
        if explain not in ("predicted", "all"):
            raise ValueError(f'`explain` must be "predicted", "all" or a list of classes. Received: {explain!r}')
        return explain if explain == "predicted" else [*range(len(names))]
    indices = [names.index(c) if isinstance(c, str) and c in names else c for c in explain]
    right = all(isinstance(i, (int, np.integer)) and 0 <= i < len(names) for i in indices)
    if not indices or not right:
        raise ValueError(f"`explain` must list classes, of {names} or in 0..{len(names) - 1}. Received: {explain!r}")
    return [int(i) for i in indices]


def _image_shape(image_shape, taken, form):
    shape = [*(taken if image_shape is None else image_shape)]
    if len(shape) != len(taken) or any(t not in (None, s) for s, t in zip(shape, taken, strict=True)):
        raise ValueError(f"`image_shape` must be of the form {tuple(taken)}. Received: {image_shape!r}")
    if None in shape and keras.backend.backend() not in form.any_size:
        raise ValueError(
            f"A file of the format {form.name!r} takes images of one size, and the model takes any: name it, such as "
            f"image_shape=(32, 32, 3). Received: image_shape={tuple(shape)}"
        )
    return shape


def _outputs(explained_model, shape, explained, count):
    """The outputs and their axes."""
    size = explained_model.map_size(shape)
    probe = [64 if length is None else length for length in shape]
    # The same names as those of the images' axes are the same numbers.
    whole = explained_model.map_size(probe) in (probe[:2], probe[1:])
    size = _named(size, SIZE if whole else ("map_height", "map_width"))
    several = [] if explained == "predicted" else [len(explained)]
    axes = (["batch", *several, *size], ["batch", count], ["batch", count], ["batch", *several])
    return dict(zip(OUTPUTS, axes, strict=True))


def _named(shape, names):
    """A shape, with names for lengths of any size."""
    return [name if length is None else length for name, length in zip(names, shape, strict=True)]
