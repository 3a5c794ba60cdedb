"""ONNX files. Outputs are named, each weight is stored once, and the facts are metadata."""

import json
import pathlib
import tempfile

import numpy as np
import onnx_ir
import onnxruntime
from onnx_ir.passes import common

from keras_coda import backend
from keras_coda.exporting.formats import KEY
from keras_coda.exporting.sizes import check_sizes

ANY_SIZE = 2**31
# What one file can hold, less a reserve for all but the weights.
MOST_BYTES = 2**31 - 2**24
# Only weights with at least this number of elements are stored in fewer bits.
WORTH = 1024
# The first version of ONNX with scales for each slice of a weight.
INT8_FROM = 13


def write(model, path, signature, weights, **arguments):
    """Let Keras write the model.

    Raises:
        ValueError: the file accepts only one image size, or cannot hold the weights.
    """
    needed = 4 * model.count_params()
    if needed > MOST_BYTES:
        raise ValueError(
            f"An ONNX file holds at most {MOST_BYTES:,} bytes of weights. Received: {needed:,} bytes. The formats "
            "'tf_saved_model' and 'torch' hold more"
        )
    backend.export_onnx(model, str(path), signature, **arguments)
    # Keras' padding on PyTorch can be that of the traced size. TensorFlow leaves padding to onnxruntime, which takes a
    # negative one for some.
    check_sizes(model, signature[0], "ONNX", lambda: _runner(path))


def finish(path, facts):
    """Name inputs and outputs, store each weight once and in its dtype, and add the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        model = onnx_ir.load(_simplified(path, pathlib.Path(folder, "simplified.onnx")))
        common.DeduplicateInitializersPass(size_limit=ANY_SIZE)(model)
        if facts["weights"] != "float32":
            _store(model, facts["weights"])
        common.RemoveUnusedOpsetsPass()(model)
        # The exporters write paths of this machine into these strings.
        common.ClearMetadataAndDocStringPass()(model)
        for values, described in ((model.graph.inputs, facts["inputs"]), (model.graph.outputs, facts["outputs"])):
            for value, (name, axes) in zip(values, described.items(), strict=True):
                value.name, value.shape = name, onnx_ir.Shape(axes)
        model.metadata_props[KEY] = json.dumps(facts)
        model.producer_name = "keras-coda"
        onnx_ir.save(model, path)


def read(path):
    """The facts as text."""
    return onnx_ir.load(path).metadata_props[KEY]


def _simplified(path, target):
    """Precompute what depends on the weights alone. Exporters repeat such operations at each use of a weight."""
    options = _options()
    # The basic level uses standard operators only. Higher levels optimise for one machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    _session(path, options)
    return target


def _runner(path):
    """The file as a function of images to a list of outputs."""
    session = _session(path, _options())
    [images] = session.get_inputs()
    return lambda array: session.run(None, {images.name: array})


def _session(path, options):
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public base class
        raise ValueError(f"The exporter wrote a file that onnxruntime does not take: {error}") from error


def _options():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def _store(model, dtype):
    """Store large weights in fewer bits. The graph converts them to float32.

    onnxruntime's own tools are not used. They compute in fewer bits, or skip convolutions (docs/export.md).
    """
    if dtype == "int8" and model.opset_imports[""] < INT8_FROM:
        raise ValueError(f"int8 needs opset_version={INT8_FROM} or later. Received: {model.opset_imports['']}")
    for name, value in [*model.graph.initializers.items()]:
        array = value.const_value.numpy()
        if array.dtype != np.float32 or array.size < WORTH or array.ndim < 2:
            continue
        if dtype == "float16":
            stored, more, operator, attributes = array.astype(np.float16), [], "Cast", {"to": onnx_ir.DataType.FLOAT}
        else:
            stored, scales = _to_int8(array, axis := 0 if array.ndim == 4 else array.ndim - 1)
            more, operator, attributes = [scales], "DequantizeLinear", {"axis": axis}
        constants = [
            onnx_ir.Value(name=f"{name}_{suffix}", const_value=onnx_ir.tensor(a, name=f"{name}_{suffix}"))
            for suffix, a in zip((dtype, "scales"), [stored, *more], strict=False)
        ]
        node = onnx_ir.node(operator, constants, attributes)
        value.replace_all_uses_with(node.outputs[0])
        del model.graph.initializers[name]
        for constant in constants:
            constant.dtype, constant.shape = constant.const_value.dtype, constant.const_value.shape
            model.graph.register_initializer(constant)
        model.graph.insert_before(model.graph[0], node)


def _to_int8(array, axis):
    """Symmetric int8 values, with a scale for each slice along an axis."""
    others = tuple(a for a in range(array.ndim) if a != axis)
    scales = np.maximum(np.abs(array).max(axis=others), 1e-30) / 127
    aligned = np.expand_dims(scales, others)
    return np.round(array / aligned).astype(np.int8), scales.astype(np.float32)
