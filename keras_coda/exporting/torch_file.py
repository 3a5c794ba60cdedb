"""Files of `torch.export` (.pt2): the facts as an extra file."""

import zipfile

import torch

from keras_coda.exporting.formats import FILE


def arguments(shape, weights):
    """For `keras.Model.export`: every axis of any size."""
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate([None, *shape]) if size is None}
    return {"dynamic_shapes": axes}


def finish(path, outputs, facts, weights):
    """Add the file to the archive, in the folder of those that `torch.export.load(path, extra_files=...)` reads."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_inside(archive), facts)


def read(path):
    """The facts, text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_inside(archive))


def _inside(archive):
    folder = archive.namelist()[0].split("/")[0]
    return f"{folder}/extra/{FILE}"
