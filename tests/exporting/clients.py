"""Exported files, each run by its own runtime: `LOAD[format](path)` is a function of images to a dict of outputs."""

import pytest


def load_onnx(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = session.get_inputs()[0].name
    return lambda images: dict(zip(names, session.run(names, {inputs: images}), strict=True))


def load_torch(path):
    torch = pytest.importorskip("torch")
    module = torch.export.load(path).module()

    def run(images):
        with torch.no_grad():
            outputs = module(torch.from_numpy(images))
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        return {name: output.numpy() for name, output in outputs.items()}

    return run


def load_saved_model(path):
    model = pytest.importorskip("tensorflow").saved_model.load(str(path))

    def run(images):
        outputs = model.serve(images)
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        return {name: output.numpy() for name, output in outputs.items()}

    return run


def load_litert(path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))

    def run(images):
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
        interpreter.allocate_tensors()
        [name] = interpreter.get_signature_list()["serving_default"]["inputs"]
        return interpreter.get_signature_runner("serving_default")(**{name: images})

    return run


LOAD = {
    "onnx": load_onnx,
    "torch": load_torch,
    "tf_saved_model": load_saved_model,
    "litert": load_litert,
}
RUN = {name: lambda path, images, load=load: load(path)(images) for name, load in LOAD.items()}
