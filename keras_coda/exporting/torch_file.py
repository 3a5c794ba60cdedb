"""Files of `torch.export` (.pt2). The facts are an extra file in the archive."""

import json
import zipfile

from keras import ops

from keras_coda.exporting.formats import FILE
from keras_coda.exporting.sizes import check_sizes


def write(model, path, signature, weights, **arguments):
    """Write the model.

    Keras does so for images of a fixed size. For any size it would trace an image of 2 x 2 pixels, which is too small.

    Raises:
        ValueError: the file accepts only some image sizes, or not a single image.
    """
    # Here, so that the facts can be read without PyTorch.
    import torch

    from keras_coda.backend.torch import sample_of

    [images] = signature
    axes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(images.shape) if size is None}
    if None not in images.shape[1:]:
        model.export(str(path), format="torch", input_signature=signature, **{"dynamic_shapes": axes, **arguments})
        return
    arguments = {"strict": False, "dynamic_shapes": [(axes,)], **arguments}
    del arguments["verbose"]
    torch.export.save(torch.export.export(model, (sample_of(images),), **arguments), path)
    check_sizes(model, images, "torch.export", lambda: _runner(path))


def _runner(path):
    """The file as a function of images to its outputs."""
    import torch

    module = torch.export.load(path).module()
    return lambda array: [*map(ops.convert_to_numpy, module(ops.convert_to_tensor(array)).values())]


def finish(path, facts):
    """Add the facts to the folder of the archive that `torch.export.load(path, extra_files=...)` reads."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_inside(archive), json.dumps(facts))


def read(path):
    """The facts as text."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(_inside(archive))


def _inside(archive):
    folder = archive.namelist()[0].split("/")[0]
    return f"{folder}/extra/{FILE}"
