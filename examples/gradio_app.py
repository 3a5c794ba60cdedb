"""A page that classifies images and shows why: python examples/gradio_app.py [PRESET].

The preset is a name, a folder or "hf://user/repo"; without one, the folder that this file lies in, as in a Space.
"""

import pathlib
import sys

import gradio
import numpy as np
from PIL import Image

import keras_coda
from keras_coda.images import to_pixels

# Numbers of pixels beyond which an image is refused.
Image.MAX_IMAGE_PIXELS = LARGEST = 25_000_000


def make_app(preset):
    """The page for a preset, a `gradio.Interface`."""
    model, facts = keras_coda.presets.load(preset), keras_coda.presets.metadata(preset)
    classes = facts["classes"]

    def explain(image):
        """An image to the probabilities of its classes and the map of the most probable one."""
        if image is None:
            raise gradio.Error("Choose an image first.")
        if image.width * image.height > LARGEST:
            raise gradio.Error(f"The image has {image.width} x {image.height} pixels. At most: {LARGEST:,}.")
        pixels = to_pixels(image, facts["image_shape"], facts["data_format"])
        explanation = model.explain(pixels[np.newaxis])
        probabilities = 1 / (1 + np.exp(-explanation.logits[0].astype("float64")))
        return {name: float(p) for name, p in zip(classes, probabilities, strict=True)}, picture(
            explanation.contribution_map[0]
        )

    return gradio.Interface(
        explain,
        gradio.Image(type="pil", label="Image"),
        [gradio.Label(num_top_classes=5, label="Classes"), gradio.Image(label="What each pixel contributes")],
        title=facts["name"],
        description="Red speaks for the class, blue against it. The contributions add up to the logit.",
        api_name="explain",
        flagging_mode="never",
    )


def picture(contribution_map, side=256):
    """Contributions in red (for) and blue (against) on white, a Pillow image."""
    scaled = contribution_map / max(np.abs(contribution_map).max(), 1e-30)
    rgb = np.stack([1 + np.minimum(scaled, 0), 1 - np.abs(scaled), 1 - np.maximum(scaled, 0)], -1)
    return Image.fromarray((255 * rgb).astype("uint8")).resize((side, side), Image.Resampling.NEAREST)


if __name__ == "__main__":
    make_app(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent).queue(max_size=16).launch()
