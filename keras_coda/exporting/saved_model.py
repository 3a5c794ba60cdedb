"""TensorFlow's SavedModel folders. The facts are in assets.extra, which is for files that the graph does not read."""

import json

from keras_coda import backend
from keras_coda.exporting.formats import FILE

EXTRA = "assets.extra"


def write(model, path, signature, weights, **arguments):
    """Let Keras write the model."""
    arguments = {**backend.saved_model_arguments, **arguments}
    model.export(str(path), format="tf_saved_model", input_signature=signature, **arguments)


def finish(path, facts):
    """Add the facts as a JSON file."""
    (path / EXTRA).mkdir(exist_ok=True)
    (path / EXTRA / FILE).write_text(json.dumps(facts), encoding="utf-8")


def read(path):
    """The facts as text."""
    return (path / EXTRA / FILE).read_text(encoding="utf-8")
