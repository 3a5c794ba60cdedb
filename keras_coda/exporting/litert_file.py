"""LiteRT files (.tflite). The facts are in a ZIP archive appended to the model, as TFLite's metadata are."""

import json
import zipfile

from keras_coda.exporting.formats import FILE


def write(model, path, signature, weights, **arguments):
    """Let Keras write the model. The converter stores the weights."""
    # Here, so that the facts can be read without TensorFlow.
    import tensorflow as tf

    if weights != "float32":
        arguments = {"optimizations": [tf.lite.Optimize.DEFAULT], **arguments}
    if weights == "float16":
        arguments = {"target_spec": {"supported_types": [tf.float16]}, **arguments}
    model.export(str(path), format="litert", input_signature=signature, **arguments)


def finish(path, facts):
    """Append the facts as a ZIP archive, which interpreters ignore."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, json.dumps(facts))


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE)
