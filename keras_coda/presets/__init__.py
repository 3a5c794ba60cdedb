"""Pretrained CoDA-Nets, by name, from any folder that `save` wrote, or from the Hugging Face Hub.

    model = keras_coda.presets.load("xs_coda_digits")
    model = keras_coda.presets.load("hf://user/repo")
    keras_coda.presets.metadata("xs_coda_digits")["results"]

A preset is a folder of plain data. Loading one executes nothing that it holds.
"""

from keras_coda.presets.add_results import add_results
from keras_coda.presets.checkpoint import load_checkpoint
from keras_coda.presets.errors import PresetError
from keras_coda.presets.folder import load, metadata, save
from keras_coda.presets.known import PresetInfo
from keras_coda.presets.listing import list, list_presets
from keras_coda.presets.publishing import publish

__all__ = [
    "PresetError",
    "PresetInfo",
    "add_results",
    "list",
    "list_presets",
    "load",
    "load_checkpoint",
    "metadata",
    "publish",
    "save",
]
