"""LiteRT files (.tflite). The facts are in a ZIP archive appended to the model, as in TFLite's metadata."""

import zipfile

import tensorflow as tf

from keras_coda.exporting.formats import FILE


def arguments(shape, weights):
    """Arguments for `keras.Model.export`, whose converter stores the weights."""
    if weights == "float32":
        return {}
    arguments = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    return {**arguments, "target_spec": {"supported_types": [tf.float16]}} if weights == "float16" else arguments


def finish(path, outputs, facts, weights):
    """Append the archive, which interpreters ignore."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, facts)


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE)
