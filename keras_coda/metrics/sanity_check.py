"""The sanity check of attributions: do maps change when the model's weights are randomised?"""

import contextlib
import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_coda.attributions import Classifier
from keras_coda.imports import Lazy
from keras_coda.layers.unit_range import to_unit_range
from keras_coda.metrics.localisation import check_finite

feature = Lazy("skimage.feature", "scikit-image")
pd = Lazy("pandas", "pandas")
skimage_metrics = Lazy("skimage.metrics", "scikit-image")
stats = Lazy("scipy.stats", "scipy")

MODES = ("cascading", "independent")
ORIGINAL = "original"


def sanity_check(
    model: keras.Model,
    method: Callable,
    images: Any,
    targets: Any = None,
    mode: str = "cascading",
    seed: int = 0,
    verbose: int = 0,
) -> Any:
    """How similar a method's maps stay when layers of the model are randomised (Adebayo et al., 2018).

    A method that explains the model returns other maps for a model with random weights. Layers get new weights from
    their initializers, one after the other, from the output to the input. With "cascading", earlier ones stay
    randomised; with "independent", one layer is randomised at a time. The model itself is not changed: the method is
    made for a copy.

    There are four similarities, which are 1 for equal maps. `ssim` is structural similarity of maps divided by their
    largest absolute value (`skimage.metrics.structural_similarity`). `rank_correlation` and `absolute_rank_correlation`
    are Spearman's correlations of maps and of their absolute values. `hog` is Pearson's correlation of histograms of
    oriented gradients (`skimage.feature.hog`, with about 8 x 8 cells an image). The correlation with a constant map is
    0, unless both maps are equal.

    Args:
        model: a Keras model. It is not changed.
        method: function of a model that returns an attribution, such as `keras_coda.attributions.Gradient`.
        images: array of N images as the model takes them, of at least 3 x 3 pixels.
        targets: integers, one for all images or `(N,)`. Default: the classes that the original model predicts.
        mode: "cascading" or "independent".
        seed: integer, for the new weights. These differ between backends.
        verbose: 1 shows a progress bar.

    Returns:
        DataFrame with a row for each step and image: step (0 is the original model), layer (the one randomised last;
        "original" in step 0), image, ssim, rank_correlation, absolute_rank_correlation, hog.

    Raises:
        ValueError: an unknown mode, a model without weights, images too small, or maps with NaN.

    Example:

    >>> table = keras_coda.metrics.sanity_check(model, keras_coda.attributions.Contributions, images[:8])
    >>> table.groupby("step")[["ssim", "rank_correlation", "hog"]].mean()
    """
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {MODES}. Received: {mode!r}")
    if getattr(model, "scales_integers", False):
        images = to_unit_range(keras.ops.convert_to_numpy(images))  # The copy is a plain Keras model.
    with _drawn_from(seed):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        layers = _layers_with_weights(copy)[::-1]
        if not layers:
            raise ValueError(f"Expected a model with weights. Received: {model.name!r}, which has none")
        attribution = method(copy)
        if targets is None:
            classifier = Classifier(copy)
            targets = classifier.outputs(classifier.source(images)).argmax(-1)
        before = _maps(attribution, images, targets)
        rows = _compare(before, before, 0, ORIGINAL)
        progress = keras.utils.Progbar(len(layers), verbose=verbose, unit_name="layer")
        for step, layer in enumerate(layers, start=1):
            learned = layer.get_weights()
            layer.set_weights(_new_weights(layer))
            rows += _compare(before, _maps(attribution, images, targets), step, layer.name)
            if mode == "independent":
                layer.set_weights(learned)
            progress.update(step)
    return pd.DataFrame(rows)


def _layers_with_weights(model):
    """The layers with weights, from the input to the output. Nested models are replaced by their layers."""
    nested = (_layers_with_weights(layer) if isinstance(layer, keras.Model) else [layer] for layer in model.layers)
    return [layer for layers in nested for layer in layers if layer.weights]


def _new_weights(layer):
    """Fresh initial weights for a layer, even where its initializers have fixed seeds."""
    fresh = type(layer).from_config(_without_seeds(layer.get_config()))
    if type(layer).build is keras.Layer.build:
        # Without a `build` of its own its sublayers are built by a call.
        fresh(keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), layer.input))
    else:
        fresh.build_from_config(layer.get_build_config())
    return fresh.get_weights()


def _without_seeds(config):
    if isinstance(config, dict):
        return {key: None if key == "seed" else _without_seeds(value) for key, value in config.items()}
    return [_without_seeds(value) for value in config] if isinstance(config, list) else config


@contextlib.contextmanager
def _drawn_from(seed):
    """Seed Python's generator for a block of code. Keras draws the seeds of initializers from it."""
    state = random.getstate()
    # A seed that users are unlikely to have. The same one would draw the model's initial weights again.
    random.seed(f"sanity check {seed}")
    try:
        yield
    finally:
        random.setstate(state)


def _maps(attribution, images, targets):
    maps = np.asarray(attribution.maps(images, targets), "float64")
    check_finite(maps)
    return maps


def _compare(before, after, step, layer):
    """The rows of the table for one step."""
    return [
        {"step": step, "layer": layer, "image": image, **_similarities(a, b)}
        for image, (a, b) in enumerate(zip(before, after, strict=True))
    ]


def _similarities(a, b):
    a, b = (_scaled(map_) for map_ in (a, b))
    similarity = skimage_metrics.structural_similarity
    return {
        # Windows of 7 x 7, or smaller ones in small images.
        "ssim": similarity(a, b, data_range=2.0, win_size=min(7, (min(a.shape) - 1) // 2 * 2 + 1)),
        "rank_correlation": _correlation(stats.spearmanr, a.ravel(), b.ravel()),
        "absolute_rank_correlation": _correlation(stats.spearmanr, np.abs(a).ravel(), np.abs(b).ravel()),
        "hog": _correlation(stats.pearsonr, _hog(a), _hog(b)),
    }


def _scaled(map_):
    largest = np.abs(map_).max()
    return map_ / largest if largest > 0 else map_


def _correlation(correlate, a, b):
    if np.array_equal(a, b):
        return 1.0
    return float(correlate(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _hog(map_):
    cell = tuple(max(1, size // 8) for size in map_.shape)
    return feature.hog(map_, pixels_per_cell=cell)
