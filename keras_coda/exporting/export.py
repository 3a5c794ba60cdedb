"""`export` writes a model and its explanation to one file."""

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
        image_size           height and width of the training images, or `None` if unknown. Scale images to this size:
                             logits grow with the area.
        input_dtype, data_format, probabilities, weights
        value_range          of the images; `None`: as the model takes them
        inputs, outputs      names and axes

    docs/export.md says where each format stores it, and what was measured.

    The model is not changed. Exported graphs use the contraction "direct", whatever is set.

    Args:
        model: a CoDA-Net, or any built model in float32 that `keras_coda.explain` takes, with outputs `(N, classes)`.
        path: where to write. The suffix selects the format: .onnx, .tflite (LiteRT), .pt2 (`torch.export`), or none for
            TensorFlow's SavedModel, which is a folder. An existing file is replaced.
        explain: the classes that get a contribution map: "predicted", "all", or a list of indices or names.
        classes: strings, the class names. Default: the class numbers.
        image_shape: shape of the images without the batch axis, with `None` for any height or width. Default: the
            model's input shape, in which the size of the training images replaces `None` if it is known.
        input_dtype: "float32", or "uint8" for images in 0..255. CoDA-Nets and models that begin with an
            `InputEncoding` take floats in [0, 1], and integers are divided by 255. Other models, such as hybrids whose
            stem scales images itself, get floats and integers unscaled.
        weights: how the file stores the weights: "float32", "float16" or "int8" (one scale per filter). The file always
            computes in float32.
        probabilities: "sigmoid" (paper, eq. 9) or "softmax".
        format: one of `FORMATS`. Default: the format of the suffix.
        **kwargs: further arguments for `keras.Model.export`.

    Returns:
        The path, a `pathlib.Path`.

    Raises:
        NotDynamicLinearError: the model cannot be explained.
        ValueError: an argument does not have the form above, the active backend cannot write the format, the format
            cannot store these weights, or a layer cannot be written to ONNX for images of any size.
        ImportError: a package that the format needs is not installed.

    Example:

    >>> model = keras_coda.presets.load("xs_coda_digits")
    >>> keras_coda.export(model, "digits.onnx", explain="all")
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
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers)
    image_size = getattr(model, "image_size", None)
    shape = _image_shape(image_shape, model.input_shape[1:], image_size, first)
    module = form.load()
    explained_model = ExplainedModel(model, explained, probabilities)
    facts = {
        "name": model.name,
        "classes": names,
        "explained": explained,
        "image_shape": shape,
        "image_size": image_size,
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
    """The explained classes as a list of indices, or "predicted"."""
    if isinstance(explain, str):
        if explain not in ("predicted", "all"):
            raise ValueError(f'`explain` must be "predicted", "all" or a list of classes. Received: {explain!r}')
        return explain if explain == "predicted" else [*range(len(names))]
    indices = [names.index(c) if isinstance(c, str) and c in names else c for c in explain]
    right = all(isinstance(i, (int, np.integer)) and 0 <= i < len(names) for i in indices)
    if not indices or not right:
        raise ValueError(f"`explain` must list classes, of {names} or in 0..{len(names) - 1}. Received: {explain!r}")
    return [int(i) for i in indices]


def _image_shape(image_shape, taken, image_size, first):
    if image_shape is None:
        known = image_size or (None, None)
        known = (None, *known) if first else (*known, None)
        return [size if t is None else t for t, size in zip(taken, known, strict=True)]
    shape = [*image_shape]
    if len(shape) != len(taken) or any(t not in (None, s) for s, t in zip(shape, taken, strict=True)):
        raise ValueError(f"`image_shape` must be of the form {tuple(taken)}. Received: {image_shape!r}")
    return shape


def _outputs(explained_model, shape, explained, count):
    """The names of the outputs, each with its axes."""
    size = explained_model.map_size(shape)
    probe = [64 if length is None else length for length in shape]
    # Axes of maps and images have the same names only if they always have the same lengths.
    whole = explained_model.map_size(probe) in (probe[:2], probe[1:])
    size = _named(size, SIZE if whole else ("map_height", "map_width"))
    several = [] if explained == "predicted" else [len(explained)]
    axes = (["batch", *several, *size], ["batch", count], ["batch", count], ["batch", *several])
    return dict(zip(OUTPUTS, axes, strict=True))


def _named(shape, names):
    """A shape in which a name replaces each `None`."""
    return [name if length is None else length for name, length in zip(names, shape, strict=True)]
