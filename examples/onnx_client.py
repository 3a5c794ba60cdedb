"""Classify an image by an exported file, and draw why: python examples/onnx_client.py FILE.onnx IMAGE MAP.png.

Needs onnxruntime, NumPy and Pillow, not this package. The file comes from `keras-coda export PRESET FILE.onnx`.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS, MOST_PIXELS = ("JPEG", "PNG", "WEBP"), 25_000_000
# How to turn an image upright, by the number of its orientation in EXIF data.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Classifier:
    """The path of an exported file to a function of images."""

    def __init__(self, path):
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            self.facts = facts = json.loads(self.session.get_modelmeta().custom_metadata_map["keras_coda"])
        except Exception as error:  # onnxruntime raises all kinds
            raise ValueError(
                f"Expected an .onnx file of keras-coda. Received: {path} ({type(error).__name__})"
            ) from error
        shape, self.first = facts["image_shape"], facts["data_format"] == "channels_first"
        height, width, self.channels = (*shape[1:], shape[0]) if self.first else shape
        # A file for images of any size has the size of the training images, too.
        size = facts["image_size"] or (None, None)
        self.size = height or size[0], width or size[1]
        for fact, is_right, expected in (
            ("explained", facts["explained"] == "predicted", "explain='predicted'"),
            ("classes", len({*facts["classes"]}) == len(facts["classes"]), "different names of the classes"),
            ("value_range", facts["value_range"] is not None, "a known range of the pixels"),
            ("image_shape", self.channels in (1, 3) and None not in self.size, "gray or RGB images of a known size"),
        ):
            if not is_right:
                received = f"{fact} = {facts[fact]!r:.200}"
                raise ValueError(f"{path} must be exported with {expected}. Received: {received}")

    def __call__(self, file):
        """An image file, or its path, to a dict of the classes' probabilities, and the (H, W) map of the likeliest."""
        names = ["probabilities", "contribution_map"]
        probabilities, contribution_map = self.session.run(names, {"images": self.pixels(file)})
        return dict(zip(self.facts["classes"], probabilities[0].tolist(), strict=True)), contribution_map[0]

    def pixels(self, file):
        """An image file as the network takes it: upright, on white, cut about its centre, scaled. (1, H, W, C)."""
        height, width = self.size
        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS or image.mode[0] in "IF":
                    raise ValueError(f"{image.width} x {image.height} pixels of mode {image.mode}")
                # As keras_coda reads files: large JPEG files at a part of their size, twice what is wanted at least.
                image.draft(None, (2 * max(height, width),) * 2)
                # Unlike `ImageOps.exif_transpose`, this reads no other EXIF data, which may be odd.
                image.load()
                turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
                image = image if turn is None else image.transpose(turn)
                if image.has_transparency_data:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert("L" if self.channels == 1 else "RGB")
        except Exception as error:  # Pillow raises all kinds for damaged files
            expected = f"a {' or '.join(FORMATS)} file of 8 bits a channel and at most {MOST_PIXELS:,} pixels"
            received = "another file" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"Expected {expected}. Received: {received}") from error
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).reshape(1, height, width, self.channels)
        pixels = np.moveaxis(pixels, -1, 1) if self.first else pixels
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
    at = ""
    try:
        classifier = Classifier(file)
        at = f"{image}: "
        probabilities, contribution_map = classifier(image)
        at = f"{drawing}: "
        picture(contribution_map).save(drawing)
    except (ValueError, OSError) as error:
        sys.exit(f"{at}{error}")
    best = max(probabilities, key=probabilities.get)
    print(f"{best}: {probabilities[best]:.3f}; the map of {drawing} adds up to {contribution_map.sum():.3f}")
