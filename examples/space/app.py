"""A page that classifies images and shows why: python examples/space/app.py [PRESET].

The preset is a name, a folder or "hf://user/repo"; without one, the folder that this file lies in, as in a Space.
"""

import pathlib
import sys

import gradio
import numpy as np
from PIL import Image

import keras_coda
from keras_coda.images import read_image

# Pixels and bytes beyond which an image is refused, before it is decoded.
MOST_PIXELS, LARGEST = 25_000_000, "20mb"


def make_app(preset):
    """The page for a preset, a `gradio.Interface`."""
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    model, facts = keras_coda.presets.load(preset), keras_coda.presets.metadata(preset)
    if len({*facts["classes"]}) < len(facts["classes"]):
        raise ValueError(f"{preset} must have different names of the classes. Received: {facts['classes']}")

    def explain(path):
        """An image file to the probabilities of its classes, and the map of the most probable one."""
        if path is None:
            raise gradio.Error("Choose an image first.")
        try:
            pixels = read_image(path, facts["image_shape"], facts["data_format"])
        except (ValueError, OSError) as error:
            raise gradio.Error(str(error).replace(str(path), "The file")) from error
        explanation = keras_coda.explain(model, pixels[np.newaxis])
        probabilities = 1 / (1 + np.exp(-explanation.logits[0].astype("float64")))
        classes = dict(zip(facts["classes"], probabilities.tolist(), strict=True))
        return classes, picture(explanation.contribution_map[0])

    image = gradio.Image(type="filepath", sources=["upload", "clipboard"], label="Image")
    # The file as it is: decoded by `read_image` alone, whose errors are clear. (For a subclass Gradio writes app.pyi.)
    image.preprocess = lambda file: None if file is None else file.path
    return gradio.Interface(
        explain,
        image,
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
    page = make_app(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    page.queue(max_size=16).launch(max_file_size=LARGEST, show_error=True)
