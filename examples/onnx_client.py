"""Classify an image by an exported file, and draw why: python examples/onnx_client.py FILE.onnx IMAGE MAP.png.

Needs onnxruntime, NumPy and Pillow, not this package. The file comes from `keras-coda export PRESET FILE.onnx`.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS, MOST_PIXELS = ("JPEG", "PNG", "WEBP"), 25_000_000


class Classifier:
    """The path of an exported file to a function of images."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.facts = json.loads(self.session.get_modelmeta().custom_metadata_map["keras_coda"])
        if self.facts["explained"] != "predicted":
            raise ValueError(f"{path} must be exported with explain='predicted'. Received: {self.facts['explained']}")

    def __call__(self, file):
        """An image file, or its path, to a dict of the classes' probabilities, and the (H, W) map of the likeliest."""
        names = ["probabilities", "contribution_map"]
        probabilities, contribution_map = self.session.run(names, {"images": self.pixels(file)})
        return dict(zip(self.facts["classes"], probabilities[0].tolist(), strict=True)), contribution_map[0]

    def pixels(self, file):
        """An image file as the network takes it: upright, on white, cut about its centre, scaled. (1, H, W, C)."""
        shape, first = self.facts["image_shape"], self.facts["data_format"] == "channels_first"
        height, width, channels = (*shape[1:], shape[0]) if first else shape
        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS or image.mode[0] in "IF":
                    raise ValueError(f"Received: {image.width} x {image.height} pixels of mode {image.mode}")
                # As keras_coda reads files: large JPEG files at a part of their size, twice what is wanted at least.
                image.draft(None, (2 * max(height, width),) * 2)
                image = ImageOps.exif_transpose(image)
                if image.has_transparency_data:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow raises all kinds for damaged files
            expected = f"a {' or '.join(FORMATS)} file of 8 bits a channel and at most {MOST_PIXELS:,} pixels"
            received = "Received: no such file" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"Expected {expected}. {received}") from error
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).reshape(1, height, width, channels)
        pixels = np.moveaxis(pixels, -1, 1) if first else pixels
        return pixels if self.facts["input_dtype"] == "uint8" else pixels.astype("float32") / 255


def picture(contribution_map, side=256):
    """Contributions in red (for) and blue (against) on white, a Pillow image."""
    scaled = contribution_map / max(np.abs(contribution_map).max(), 1e-30)
    rgb = np.stack([1 + np.minimum(scaled, 0), 1 - np.abs(scaled), 1 - np.maximum(scaled, 0)], -1)
    return Image.fromarray((255 * rgb).astype("uint8")).resize((side, side), Image.Resampling.NEAREST)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/onnx_client.py FILE.onnx IMAGE MAP.png")
    file, image, drawing = sys.argv[1:]
    try:
        probabilities, contribution_map = Classifier(file)(image)
    except ValueError as error:
        sys.exit(f"{image}: {error}")
    picture(contribution_map).save(drawing)
    best = max(probabilities, key=probabilities.get)
    print(f"{best}: {probabilities[best]:.3f}; the map of {drawing} adds up to {contribution_map.sum():.3f}")
