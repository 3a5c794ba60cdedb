"""Run exported files as their clients would, each by its own runtime: images to a dict of outputs."""

import pytest


def run_onnx(path, images):
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def run_torch(path, images):
    torch = pytest.importorskip("torch")
    outputs = torch.export.load(path).module()(torch.from_numpy(images))
    return {name: output.detach().numpy() for name, output in outputs.items()}


def run_saved_model(path, images):
    model = pytest.importorskip("tensorflow").saved_model.load(str(path))
    return {name: output.numpy() for name, output in model.serve(images).items()}


def run_litert(path, images):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner("serving_default")(images=images)


RUN = {
    "onnx": run_onnx,
    "torch": run_torch,
    "tf_saved_model": run_saved_model,
    "litert": run_litert,
}
