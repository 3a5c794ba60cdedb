"""LiteRT files (.tflite): the facts in a ZIP archive after the model, as TFLite's metadata has its files."""

import zipfile

import tensorflow as tf

from keras_coda.exporting.formats import FILE


def arguments(shape, weights):
    """For `keras.Model.export`, whose converter stores the weights."""
    if weights == "float32":
        return {}
    arguments = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    return {**arguments, "target_spec": {"supported_types": [tf.float16]}} if weights == "float16" else arguments


def finish(path, outputs, facts, weights):
    """Append the archive, which interpreters pass over."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, facts)


def read(path):
    """The facts, text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE)
