"""Models as files for other programs, which give an explanation with every answer."""

from keras_coda.exporting.export import export
from keras_coda.exporting.formats import FORMATS, metadata_of

__all__ = ["FORMATS", "export", "metadata_of"]
