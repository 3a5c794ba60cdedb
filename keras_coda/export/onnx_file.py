"""ONNX files: named outputs, no weight twice, and metadata."""

import pathlib
import tempfile

import onnx_ir
import onnxruntime
from onnx_ir.passes import common

ANY_SIZE = 2**31


def finish(path, outputs, metadata):
    """Give a file that Keras wrote what a client needs.

    Args:
        path: path of the file.
        outputs: dict of the outputs' names and shapes, in their order; an axis of any size is a string, its name.
        metadata: string.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = onnx_ir.load(_simplified(path, pathlib.Path(folder, "simplified.onnx")))
        common.DeduplicateInitializersPass(size_limit=ANY_SIZE)(model)
        common.RemoveUnusedNodesPass()(model)
        common.RemoveUnusedOpsetsPass()(model)
        # The exporters write the paths of this machine there.
        common.ClearMetadataAndDocStringPass()(model)
        for value, (name, shape) in zip(model.graph.outputs, outputs.items(), strict=True):
            value.name, value.shape = name, onnx_ir.Shape(shape)
        model.metadata_props["keras_coda"] = metadata
        model.producer_name = "keras-coda"
        onnx_ir.save(model, path)


def _simplified(path, target):
    """The graph with all computed that depends on weights alone, of which the exporters leave a copy for each use."""
    options = onnxruntime.SessionOptions()
    # Standard operators alone: further optimisation is for one machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return target
