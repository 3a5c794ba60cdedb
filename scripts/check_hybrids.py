"""Hybrids on networks of keras.applications with random weights: completeness of their explanations, as a table.

KERAS_BACKEND=torch python scripts/check_hybrids.py
"""

import keras
import numpy as np

import keras_coda

CUTS = {
    "ResNet50": "conv3_block4_out",
    "MobileNetV2": "block_6_expand_relu",
    "EfficientNetB0": "block4a_expand_activation",
}


def residual(name, layer):
    """The largest |logit - bias - sum of contributions|, relative to the largest logit."""
    stem = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), include_top=False)
    model = keras_coda.models.hybrid(stem, layer, [16, 10], [3, 1], [8, 8], temperature=10.0)
    images = np.random.default_rng(0).random((2, 64, 64, 3), "float32")
    explanation = keras_coda.explain(model, images, "all")
    logits = model.predict(images, verbose=0)
    total = explanation.contributions.sum((2, 3, 4), dtype="float64") + explanation.bias
    return np.abs(total - logits).max() / np.abs(logits).max(), explanation.over_image(64, 64).contribution_map.shape


if __name__ == "__main__":
    for name, layer in CUTS.items():
        error, shape = residual(name, layer)
        print(f"{name} at {layer}: {error:.1e}, maps {shape}", flush=True)
