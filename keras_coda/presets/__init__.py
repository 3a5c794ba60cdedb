"""Pretrained CoDA-Nets, by name, from any folder that `save` wrote, or from the Hugging Face Hub.

    model = keras_coda.presets.load("xs_coda_digits")
    model = keras_coda.presets.load("hf://user/repo")
    keras_coda.presets.metadata("xs_coda_digits")["results"]

A preset is a folder of plain data. Loading one executes nothing that it holds.
"""

from keras_coda.presets.checkpoint import load_checkpoint
from keras_coda.presets.errors import PresetError
from keras_coda.presets.facts import Facts
from keras_coda.presets.loading import load, metadata
from keras_coda.presets.names import PresetInfo, list_presets
from keras_coda.presets.publishing import publish
from keras_coda.presets.saving import add_results, save

__all__ = [
    "Facts",
    "PresetError",
    "PresetInfo",
    "add_results",
    "list_presets",
    "load",
    "load_checkpoint",
    "metadata",
    "publish",
    "save",
]
