"""SavedModels, folders of TensorFlow: the facts in assets.extra, the place for files that no graph reads."""

from keras_coda.exporting.formats import FILE

EXTRA = "assets.extra"


def arguments(shape, weights):
    """For `keras.Model.export`."""
    return {}


def finish(path, outputs, facts, weights):
    """Add the file."""
    (path / EXTRA).mkdir(exist_ok=True)
    (path / EXTRA / FILE).write_text(facts, encoding="utf-8")


def read(path):
    """The facts, text."""
    return (path / EXTRA / FILE).read_text(encoding="utf-8")
