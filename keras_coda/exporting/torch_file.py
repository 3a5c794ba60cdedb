"""Files of `torch.export` (.pt2): the facts as an extra file."""

import json
import zipfile

import torch

from keras_coda.exporting.formats import FILE


def write(model, path, signature, weights, **arguments):
    """Have Keras write the model, with every axis of any size that can be."""
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(signature[0].shape) if size is None}
    model.export(str(path), format="torch", input_signature=signature, **{"dynamic_shapes": axes, **arguments})


def finish(path, facts):
    """Add the file to the archive, in the folder of those that `torch.export.load(path, extra_files=...)` reads."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_inside(archive), json.dumps(facts))


def read(path):
    """The facts, text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_inside(archive))


def _inside(archive):
    folder = archive.namelist()[0].split("/")[0]
    return f"{folder}/extra/{FILE}"
