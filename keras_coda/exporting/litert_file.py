"""LiteRT files (.tflite). The facts are in a ZIP archive appended to the model, as TFLite's metadata are."""

import json
import warnings
import zipfile

import numpy as np

from keras_coda.backend.conventions import probe
from keras_coda.exporting.formats import FILE


def write(model, path, signature, weights, **arguments):
    """Let Keras write the model. The converter stores the weights.

    Raises:
        ValueError: the interpreter cannot run the file.
    """
    # Here, so that the facts can be read without TensorFlow.
    import tensorflow as tf

    if weights != "float32":
        arguments = {"optimizations": [tf.lite.Optimize.DEFAULT], **arguments}
    if weights == "float16":
        arguments = {"target_spec": {"supported_types": [tf.float16]}, **arguments}
    model.export(str(path), format="litert", input_signature=signature, **arguments)
    images = np.zeros([1, *probe(signature[0].shape[1:])], signature[0].dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow says that its interpreter will move.
            tf.lite.Interpreter(str(path)).get_signature_runner()(images=images)
    except RuntimeError as error:
        raise ValueError(
            "LiteRT cannot run this model: it lacks operations for some layers, such as depthwise convolutions, "
            "resizes, average pooling and slices. Expected: a model without them, or another format. "
            f"Received: {str(error).strip().splitlines()[0]}"
        ) from error


def finish(path, facts):
    """Append the facts as a ZIP archive, which interpreters ignore."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, json.dumps(facts))


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE)
