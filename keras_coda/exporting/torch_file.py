"""Files of `torch.export` (.pt2). The facts are an extra file in the archive."""

import json
import zipfile

import torch

from keras_coda.exporting.formats import FILE


def write(model, path, signature, weights, **arguments):
    """Let Keras write the model. Axes of unknown size are dynamic where possible."""
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(signature[0].shape) if size is None}
    model.export(str(path), format="torch", input_signature=signature, **{"dynamic_shapes": axes, **arguments})


def finish(path, facts):
    """Add the file to the archive, where `torch.export.load(path, extra_files=...)` reads it."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_inside(archive), json.dumps(facts))


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_inside(archive))


def _inside(archive):
    folder = archive.namelist()[0].split("/")[0]
    return f"{folder}/extra/{FILE}"
