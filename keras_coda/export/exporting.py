"""Models as files that other programs run, with their explanation."""

import json
import pathlib

import keras

from keras_coda.contractions import using
from keras_coda.export.explained_model import OUTPUTS, ExplainedModel


def export(
    model, path, explain="predicted", *, classes=None, image_shape=None, input_dtype="float32", probabilities="sigmoid"
):
    names = [*map(str, range(model.output_shape[-1]))] if classes is None else [*classes]
    explained = ExplainedModel(model, explain, probabilities)
    shape = (None, *(image_shape or model.input_shape[1:]))
    signature = [keras.layers.InputSpec(shape=shape, dtype=input_dtype, name="images")]
    path = pathlib.Path(path)
    with using("direct"):
        explained.export(path, format="onnx", verbose=False, input_signature=signature)
    from keras_coda.export import onnx_file

    size = [
        name if length is None else length for name, length in zip(("batch", "height", "width"), shape, strict=False)
    ]
    several = [] if explain == "predicted" else [len(names) if explain == "all" else len(explain)]
    shapes = {
        "contribution_map": [size[0], *several, *size[1:]],
        "logits": [size[0], len(names)],
        "probabilities": [size[0], len(names)],
        "residual": [size[0], *several],
    }
    metadata = {
        "name": model.name,
        "classes": names,
        "explained": explain,
        "image_shape": list(shape[1:]),
        "input_dtype": input_dtype,
        "value_range": [0, 1] if input_dtype == "float32" else [0, 255],
        "data_format": "channels_last",
        "probabilities": probabilities,
    }
    onnx_file.finish(path, {name: shapes[name] for name in OUTPUTS}, json.dumps(metadata))
    return path
