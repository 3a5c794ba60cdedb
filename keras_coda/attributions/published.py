"""The methods that the paper compares, with the settings of its experiments."""

import functools
from typing import Any

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.contributions import Contributions
from keras_coda.attributions.deep_lift import DeepLIFT
from keras_coda.attributions.grad_cam import GradCAM
from keras_coda.attributions.gradient import Gradient, InputXGradient
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
_OCCLUSION: dict[str, _Settings] = {
    "cifar10": {
        "occlusion_5": (Occlusion, {"patch": 5, "stride": 2}),
        "occlusion_9": (Occlusion, {"patch": 9, "stride": 2}),
    },
    "tinyimagenet": {
        "occlusion_9": (Occlusion, {"patch": 9, "stride": 4}),
        "occlusion_13": (Occlusion, {"patch": 13, "stride": 4}),
    },
}


def published(dataset):
    """The paper's methods with the settings of its experiments on a data set.

    Guided backpropagation and SmoothGrad, which the paper does not have, are among them with their default settings.

    Args:
        dataset: "cifar10" or "tinyimagenet".

    Returns:
        A dictionary from names, such as "occlusion_9", to functions of a model that return the method. They take
        further arguments, such as `batch_size`, and other values for the settings.

    Raises:
        ValueError: there are no settings for this data set.

    Example:

    >>> methods = keras_coda.attributions.published("cifar10")
    >>> methods["occlusion_5"](model)(images)
    """
    if dataset not in _OCCLUSION:
        raise ValueError(f"Expected one of {sorted(_OCCLUSION)}. Received: {dataset!r}")
    settings = {**_EVERYWHERE, **_OCCLUSION[dataset]}
    return {name: functools.partial(method, **arguments) for name, (method, arguments) in settings.items()}
