"""SavedModels, folders of TensorFlow: the facts in assets.extra, the place for files that no graph reads."""

import json

from keras_coda.exporting.formats import FILE

EXTRA = "assets.extra"


def write(model, path, signature, weights, **arguments):
    """Have Keras write the model."""
    model.export(str(path), format="tf_saved_model", input_signature=signature, **arguments)


def finish(path, facts):
    """Add the file."""
    (path / EXTRA).mkdir(exist_ok=True)
    (path / EXTRA / FILE).write_text(json.dumps(facts), encoding="utf-8")


def read(path):
    """The facts, text."""
    return (path / EXTRA / FILE).read_text(encoding="utf-8")
