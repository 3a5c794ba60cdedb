"""An exported file as a web service: uvicorn fastapi_client:app. `curl -F file=@IMAGE localhost:8000/explain`.

The file model.onnx is made by `keras_coda.export(model, "model.onnx", classes=names, image_shape=(32, 32, 3))`.
"""

import io
import json

import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, UploadFile
from PIL import Image, ImageOps

LARGEST = 10_000_000  # bytes of a file
Image.MAX_IMAGE_PIXELS = 25_000_000

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["keras_coda"])
height, width, channels = facts["image_shape"]
app = FastAPI()


@app.post("/explain")
def explain(file: UploadFile):
    data = file.file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise HTTPException(413, f"Expected an image file of at most {LARGEST} bytes.")
    try:
        image = Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB")
    except Exception as error:
        raise HTTPException(
            415, "Expected an image file that Pillow can read, of at most 25 million pixels."
        ) from error
    pixels = np.asarray(ImageOps.fit(image, (width, height)), "float32").reshape(1, height, width, channels) / 255
    outputs = session.run(["probabilities", "contribution_map"], {"images": pixels})
    classes = dict(zip(facts["classes"], outputs[0][0].tolist(), strict=True))
    return {"probabilities": classes, "contribution_map": outputs[1][0].tolist()}
