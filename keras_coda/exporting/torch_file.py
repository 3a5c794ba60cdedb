"""Files of `torch.export` (.pt2): the facts as an extra file."""

import torch

from keras_coda.exporting.formats import FILE


def arguments(shape, weights):
    """For `keras.Model.export`: every axis of any size."""
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate([None, *shape]) if size is None}
    return {"dynamic_shapes": axes}


def finish(path, outputs, facts, weights):
    """Write the program again, with the file."""
    torch.export.save(torch.export.load(path), path, extra_files={FILE: facts})


def read(path):
    """The facts, text."""
    files = {FILE: ""}
    torch.export.load(path, extra_files=files)
    return files[FILE]
