"""Print the table of docs/export.md that compares tools which store the weights of an ONNX file in fewer bits.

    KERAS_BACKEND=torch python scripts/studies/onnx_weight_tools.py xs_coda_digits xs_coda_cifar10

Besides the extra `export` this needs `onnxconverter-common`, of which there is a line if it is installed.
"""

import argparse
import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers import float16

import keras_coda
from keras_coda.exporting import FORMATS, metadata_of

IMAGES = 8


def own(weights):
    def convert(source, target):
        target.write_bytes(source.read_bytes())
        FORMATS["onnx"].load().finish(target, {**metadata_of(source), "weights": weights})

    return convert


def transformers(source, target):
    onnx.save(float16.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def transformers_stored(source, target):
    model = onnx.load(source)
    blocked = sorted({node.op_type for node in model.graph.node})
    options = {"op_block_list": blocked, "force_fp16_initializers": True}
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True, **options), target)


def converter_common(source, target):
    from onnxconverter_common import float16 as common

    onnx.save(common.convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def dynamic(source, target):
    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)


def dynamic_products(source, target):
    quantize_dynamic(source, target, ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)


def blocks(source, target):
    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=8, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


TOOLS = {
    '`weights="float16"`': own("float16"),
    "onnxruntime.transformers.float16": transformers,
    "the same, with all operators in float32": transformers_stored,
    "onnxconverter-common, float16": converter_common,
    '`weights="int8"`': own("int8"),
    "onnxruntime `quantize_dynamic`, int8 a channel": dynamic,
    "the same, of matrix products alone": dynamic_products,
    "onnxruntime `MatMulNBitsQuantizer`, 8 bits": blocks,
}


def run(path, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def cells(want, got, path):
    """Errors of logits and maps, relative to the largest value, the residual, relative to the logits, and MB."""
    differences = [np.abs(got[n] - want[n]).max() / np.abs(want[n]).max() for n in ("logits", "contribution_map")]
    residual = np.abs(got["residual"]).max() / np.abs(want["logits"]).max()
    return [f"{value:.1e}" for value in (*differences, residual)] + [f"{path.stat().st_size / 1e6:.2f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    warnings.filterwarnings("ignore")
    print("| network | tool | logits | maps | residual | MB |\n| --- | --- | --- | --- | --- | --- |")
    for name in parser.parse_args().presets:
        model = keras_coda.presets.load(name)
        shape = keras_coda.presets.metadata(name)["image_shape"]
        images = np.random.default_rng(0).random((IMAGES, *shape), "float32")
        with tempfile.TemporaryDirectory() as folder:
            full = keras_coda.export(model, pathlib.Path(folder, "full.onnx"), "all")
            want = run(full, images)
            for tool, convert in TOOLS.items():
                path = pathlib.Path(folder, "small.onnx")
                path.unlink(missing_ok=True)
                try:
                    convert(full, path)
                    row = cells(want, run(path, images), path)
                except Exception as error:
                    row = [f"{type(error).__name__}: {str(error).splitlines()[0][:80]}", "", "", ""]
                print("| " + " | ".join([name, tool, *row]) + " |", flush=True)


if __name__ == "__main__":
    main()
