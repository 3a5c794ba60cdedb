"""LiteRT files (.tflite): the facts in a ZIP archive after the model, as TFLite's metadata has its files."""

import json
import zipfile

import tensorflow as tf

from keras_coda.exporting.formats import FILE


def write(model, path, signature, weights, **arguments):
    """Have Keras write the model, with the converter's own ways to store weights."""
    if weights != "float32":
        arguments = {"optimizations": [tf.lite.Optimize.DEFAULT], **arguments}
    if weights == "float16":
        arguments = {"target_spec": {"supported_types": [tf.float16]}, **arguments}
    model.export(str(path), format="litert", input_signature=signature, **arguments)


def finish(path, facts):
    """Append the archive, which interpreters pass over."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, json.dumps(facts))


def read(path):
    """The facts, text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE)
