"""Classify an image by an exported file, with onnxruntime alone: python examples/onnx_client.py digits.onnx IMAGE.

The file is made by `keras_coda.export(model, "digits.onnx", classes=names, image_shape=(16, 16, 1))`.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["keras_coda"])
height, width, channels = facts["image_shape"]
image = ImageOps.fit(Image.open(sys.argv[2]).convert("L" if channels == 1 else "RGB"), (width, height))
pixels = np.asarray(image, "float32").reshape(1, height, width, channels) / 255
names = ["probabilities", "contribution_map"]
probabilities, contribution_map = session.run(names, {"images": pixels})
best = int(probabilities[0].argmax())
print(f"{facts['classes'][best]}: {probabilities[0, best]:.3f}; its map adds up to {contribution_map[0].sum():.3f}")
