"""Models as files that other programs run, each answer with its explanation."""

from keras_coda.exporting.export import export
from keras_coda.exporting.formats import FORMATS, metadata_of

__all__ = ["FORMATS", "export", "metadata_of"]
