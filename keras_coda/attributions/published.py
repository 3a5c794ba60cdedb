"""The methods that the paper compares, with the settings of its experiments."""

import functools
from collections.abc import Callable
from typing import Any

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.contributions import Contributions
from keras_coda.attributions.deep_lift import DeepLIFT
from keras_coda.attributions.grad_cam import GradCAM
from keras_coda.attributions.gradient import Gradient, InputXGradient, Saliency
from keras_coda.attributions.guided_backpropagation import GuidedBackpropagation
from keras_coda.attributions.integrated_gradients import IntegratedGradients
from keras_coda.attributions.lime import LIME
from keras_coda.attributions.occlusion import Occlusion
from keras_coda.attributions.rise import RISE
from keras_coda.attributions.smooth_grad import SmoothGrad

_Settings = dict[str, tuple[type[Attribution], dict[str, Any]]]

_LIME = {"max_distance": 200, "ratio": 0.2, "samples": 256, "features": 3}
_EVERYWHERE: _Settings = {
    "contributions": (Contributions, {}),
    "rise": (RISE, {"masks": 6000, "cells": 6, "probability": 0.1}),
    "lime_1": (LIME, {"kernel_size": 1, **_LIME}),
    "lime_4": (LIME, {"kernel_size": 4, **_LIME}),
    "grad_cam": (GradCAM, {}),
    "integrated_gradients": (IntegratedGradients, {"steps": 20}),
    "deep_lift": (DeepLIFT, {}),
    "input_x_gradient": (InputXGradient, {}),
    "gradient": (Gradient, {}),
    # Not in the paper, with their default settings.
    "guided_backpropagation": (GuidedBackpropagation, {}),
    "smooth_grad": (SmoothGrad, {}),
}
_OCCLUSION: dict[str, _Settings] = {  # of the paper's text
    "cifar10": {
        "occlusion_5": (Occlusion, {"patch": 5, "stride": 2}),
        "occlusion_9": (Occlusion, {"patch": 9, "stride": 2}),
    },
    "tinyimagenet": {
        "occlusion_9": (Occlusion, {"patch": 9, "stride": 4}),
        "occlusion_13": (Occlusion, {"patch": 13, "stride": 4}),
    },
}
# The settings of the authors' code. There, and in the published scores, masks of 4 x 4 and 8 x 8 are called 5 and 9.
_OF_CODE: dict[str, _Settings] = {
    "cifar10": {
        "occlusion_5": (Occlusion, {"patch": 4, "stride": 2}),
        "occlusion_9": (Occlusion, {"patch": 8, "stride": 2}),
        "grad_cam": (GradCAM, {"interpolation": "nearest"}),
        "gradient": (Saliency, {}),
    },
}
DEFINITIONS = ("paper", "paper_code")


def published(dataset: str, definition: str = "paper") -> dict[str, Callable[..., Attribution]]:
    """The paper's methods with the settings of its experiments on a data set.

    Guided backpropagation and SmoothGrad are added with their default settings. The paper does not have them.

    The published scores come from the authors' code, which differs from the paper's text in four ways. Post-hoc
    methods are applied to the image, not to the encoded image. The occlusions "5" and "9" have 4 x 4 and 8 x 8 pixels.
    Grad-CAM's maps are enlarged by nearest neighbours. The gradient has no sign. This is concluded from the
    scores, which no other form that was tried comes near (docs/methods.md). Compare only scores of the same
    definition.

    Args:
        dataset: "cifar10" or "tinyimagenet".
        definition: "paper": the settings in its text. "paper_code": those behind the published scores, as far as they
            are known, for "cifar10" only. Contributions are the same in both.

    Returns:
        A dictionary from names, such as "occlusion_9", to functions of a model that return the method. Further
        arguments, such as `batch_size`, are passed on, and replace these settings.

    Raises:
        ValueError: there are no settings for this data set, or not by this definition.

    Example:

    >>> methods = keras_coda.attributions.published("cifar10")
    >>> methods["occlusion_5"](model)(images)
    >>> published("cifar10", definition="paper_code")["occlusion_5"](model).patch
    4
    """
    if dataset not in _OCCLUSION:
        raise ValueError(f"Expected one of {sorted(_OCCLUSION)}. Received: {dataset!r}")
    if definition not in DEFINITIONS or (definition == "paper_code" and dataset not in _OF_CODE):
        raise ValueError(
            f'`definition` must be one of {DEFINITIONS}, and "paper_code" is for {sorted(_OF_CODE)} alone. '
            f"Received: {definition!r} for {dataset!r}"
        )
    settings = {**_EVERYWHERE, **_OCCLUSION[dataset]}
    if definition == "paper_code":
        for name, (method, arguments) in {**settings, **_OF_CODE[dataset]}.items():
            settings[name] = (method, arguments if method is Contributions else {**arguments, "input": "image"})
    return {name: functools.partial(method, **arguments) for name, (method, arguments) in settings.items()}
