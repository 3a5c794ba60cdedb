"""Files of `torch.export` (.pt2). The facts are an extra file in the archive."""

import zipfile

import torch

from keras_coda.exporting.formats import FILE


def arguments(shape, weights):
    """Arguments for `keras.Model.export`: axes of any size are dynamic."""
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate([None, *shape]) if size is None}
    return {"dynamic_shapes": axes}


def finish(path, outputs, facts, weights):
    """Add the file to the archive, where `torch.export.load(path, extra_files=...)` reads it."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_inside(archive), facts)


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_inside(archive))


def _inside(archive):
    folder = archive.namelist()[0].split("/")[0]
    return f"{folder}/extra/{FILE}"
