"""ONNX files: outputs by name, no weight twice, and the facts as metadata."""

import pathlib
import tempfile

import numpy as np
import onnx_ir
import onnxruntime
from onnx_ir.passes import common

from keras_coda.exporting.formats import KEY

ANY_SIZE = 2**31
# Numbers in a weight from which on it is kept in fewer bits.
WORTH = 1024


def arguments(shape, weights):
    """For `keras.Model.export`."""
    return {}


def finish(path, outputs, facts, weights):
    """Complete the file: names, weights once each in their dtype, metadata."""
    with tempfile.TemporaryDirectory() as folder:
        model = onnx_ir.load(_simplified(path, pathlib.Path(folder, "simplified.onnx")))
        common.LiftConstantsToInitializersPass()(model)
        common.DeduplicateInitializersPass(size_limit=ANY_SIZE)(model)
        if weights != "float32":
            _store(model, weights)
        for tidy in (
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedOpsetsPass(),
            # The exporters write the paths of this machine there.
            common.ClearMetadataAndDocStringPass(),
        ):
            tidy(model)
        model.graph.inputs[0].name = "images"
        for value, (name, axes) in zip(model.graph.outputs, outputs.items(), strict=True):
            value.name, value.shape = name, onnx_ir.Shape(axes)
        model.metadata_props[KEY] = facts
        model.producer_name = "keras-coda"
        onnx_ir.save(model, path)


def read(path):
    """The facts, text."""
    return onnx_ir.load(path).metadata_props[KEY]


def _simplified(path, target):
    """The graph with all computed that depends on weights alone, of which the exporters leave a copy for each use."""
    options = onnxruntime.SessionOptions()
    # Standard operators alone: further optimisation is for one machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return target


def _store(model, dtype):
    """Keep large weights in fewer bits, from which the graph itself makes float32."""
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
    """Symmetric, with a scale for each slice along an axis."""
    others = tuple(a for a in range(array.ndim) if a != axis)
    scales = np.maximum(np.abs(array).max(axis=others), 1e-30) / 127
    aligned = np.expand_dims(scales, others)
    return np.round(array / aligned).astype(np.int8), scales.astype(np.float32)
