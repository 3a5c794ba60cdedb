"""OpenVINO's files (.xml and .bin): outputs by name, and the facts as runtime information."""

import pathlib
import tempfile

import openvino

from keras_coda.exporting.formats import KEY


def arguments(shape, weights):
    """For `keras.Model.export`."""
    return {}


def finish(path, outputs, facts, weights):
    """Write the model again, with names and facts."""
    # Its weights are read from the file that is about to be replaced.
    with tempfile.TemporaryDirectory() as folder:
        model = openvino.Core().read_model(path)
        for output, name in zip(model.outputs, outputs, strict=True):
            output.get_tensor().set_names({name})
        model.set_rt_info(facts, KEY)
        written = pathlib.Path(folder, "model.xml")
        openvino.save_model(model, written, compress_to_fp16=False)
        del model
        for suffix in (".xml", ".bin"):
            path.with_suffix(suffix).write_bytes(written.with_suffix(suffix).read_bytes())


def read(path):
    """The facts, text."""
    return openvino.Core().read_model(path).get_rt_info(KEY).astype(str)
