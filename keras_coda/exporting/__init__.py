"""Export of models to files that other programs run. Each file returns predictions with their explanations."""

from keras_coda.exporting.export import export
from keras_coda.exporting.formats import FORMATS, metadata_of

__all__ = ["FORMATS", "export", "metadata_of"]
