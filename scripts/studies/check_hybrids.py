"""Hybrids on networks of keras.applications with random weights: completeness of their explanations, as a table.

    KERAS_BACKEND=torch python scripts/studies/check_hybrids.py          # three networks, at the cuts below
    KERAS_BACKEND=torch python scripts/studies/check_hybrids.py --all    # one of each family, cut at the middle layer
    KERAS_BACKEND=torch python scripts/studies/check_hybrids.py VGG16 NASNetMobile

Each hybrid is made, explained, trained for one step with the stem frozen, saved, loaded and explained again. With
`--only-explain` it is made and explained.
"""

import argparse
import pathlib
import tempfile

import keras
import numpy as np

import keras_coda

CUTS = {
    "ResNet50": "conv3_block4_out",
    "MobileNetV2": "block_6_expand_relu",
    "EfficientNetB0": "block4a_expand_activation",
}
FAMILIES = (
    *("VGG16", "ResNet50", "ResNet50V2", "Xception", "InceptionV3", "InceptionResNetV2", "DenseNet121"),
    *("NASNetMobile", "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0"),
    "ConvNeXtTiny",
)
# Keras does not build these on these backends.
MISSING = {("NASNetMobile", "torch")}
SIZE = 75  # the smallest that all of them take


def middle(stem):
    """The name of the layer in the middle of the list of a model's layers."""
    return stem.layers[len(stem.layers) // 2].name


def residual(model, images, logits):
    """The largest |logit - bias - sum of contributions|, relative to the largest logit; and the explanation."""
    explanation = keras_coda.explain(model, images, "all")
    total = explanation.contributions.sum((2, 3, 4), dtype="float64") + explanation.bias
    return np.abs(total - logits).max() / np.abs(logits).max(), explanation


def same(first, second):
    """Whether two lists of arrays are equal."""
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def check(name, layer=None, only_explain=False):
    """The cut, the largest residual, and the features' shape of a hybrid on the network `name`."""
    stem = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3), include_top=False)
    layer = layer or middle(stem)
    # Without b0, which would be the largest part of an untrained network's logits.
    model = keras_coda.models.hybrid(stem, layer, [16, 10], [3, 1], [8, 8], logit_bias=0.0)
    del stem
    images = np.random.default_rng(0).random((2, SIZE, SIZE, 3), "float32")
    before, explanation = residual(model, images, model.predict(images, verbose=0))
    shape = explanation.contributions.shape[2:]
    if explanation.over_image(SIZE, SIZE).contribution_map.shape != (2, 10, SIZE, SIZE):
        raise AssertionError(f"{name}: the maps are not of the image's size")
    if only_explain:
        return layer, before, shape

    frozen, head = model.get_layer("stem"), model.get_layer("dau_1")
    weights, kernels = frozen.get_weights(), head.get_weights()
    # By signs of gradients, since an untrained stem may have very small features.
    model.compile(keras.optimizers.Lion(0.01), keras_coda.OneVsRestCrossentropy())
    model.fit(images, np.array([0, 1]), verbose=0)
    if not same(weights, frozen.get_weights()) or same(kernels, head.get_weights()):
        raise AssertionError(f"{name}: the step changed the frozen stem, or did not change the head")
    after, explanation = residual(model, images, logits := model.predict(images, verbose=0))

    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "hybrid.keras"
        model.save(path)
        loaded = keras.saving.load_model(path)
    from_file, again = residual(loaded, images, logits)
    if not np.allclose(again.contributions, explanation.contributions, atol=1e-5 * np.abs(logits).max()):
        raise AssertionError(f"{name}: the loaded model has other contributions")
    return layer, max(before, after, from_file), shape


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks of keras.applications, cut at the middle layer")
    parser.add_argument("--all", action="store_true", help="one of each family")
    parser.add_argument("--only-explain", action="store_true", help="neither train nor save the hybrids")
    options = parser.parse_args()
    chosen: dict = dict.fromkeys(options.names or FAMILIES) if options.all or options.names else CUTS
    print("| network | cut at | features | residual |\n| --- | --- | --- | --- |", flush=True)
    for name, layer in chosen.items():
        if (name, keras.backend.backend()) in MISSING:
            print(f"| {name} | not on this backend, by Keras | | |", flush=True)
            continue
        layer, error, shape = check(name, layer, options.only_explain)
        print(f"| {name} | `{layer}` | {' x '.join(map(str, shape))} | {error:.1e} |", flush=True)
        keras.utils.clear_session()
