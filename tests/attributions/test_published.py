"""The paper's settings."""

import numpy as np
import pytest
import tiny_models

from keras_coda import attributions
from keras_coda.attributions import published

EVERYWHERE = {
    "contributions": "Contributions",
    "deep_lift": "DeepLIFT",
    "grad_cam": "GradCAM",
    "gradient": "Gradient",
    "guided_backpropagation": "GuidedBackpropagation",
    "input_x_gradient": "InputXGradient",
    "integrated_gradients": "IntegratedGradients",
    "lime_1": "LIME",
    "lime_4": "LIME",
    "rise": "RISE",
    "smooth_grad": "SmoothGrad",
}
# DESIGN.md, 4.
OCCLUSION = {
    "cifar10": {"occlusion_5": (5, 2), "occlusion_9": (9, 2)},
    "tinyimagenet": {"occlusion_9": (9, 4), "occlusion_13": (13, 4)},
}


@pytest.mark.parametrize("dataset", OCCLUSION)
def test_every_method_has_the_published_settings(dataset):
    model = tiny_models.coda_net()
    methods = {name: make(model, batch_size=16) for name, make in published(dataset).items()}
    assert set(methods) == {*EVERYWHERE, *OCCLUSION[dataset]}
    for name, method in methods.items():
        assert type(method) is getattr(attributions, EVERYWHERE.get(name, "Occlusion"))
        assert method.batch_size == 16
    for name, settings in OCCLUSION[dataset].items():
        assert (methods[name].patch, methods[name].stride) == settings
    for kernel_size in (1, 4):
        lime = methods[f"lime_{kernel_size}"]
        settings = (lime.kernel_size, lime.max_distance, lime.ratio, lime.samples, lime.features)
        assert settings == (kernel_size, 200, 0.2, 256, 3)
    rise = methods["rise"]
    assert (rise.masks, rise.cells, rise.probability) == (6000, 6, 0.1)
    assert methods["integrated_gradients"].steps == 20


def test_the_definition_of_the_published_scores():
    """DESIGN.md, 5: for the image, masks of 4 and 8, nearest pixels, no sign; all else as in the paper's text."""
    model = tiny_models.coda_net()
    paper = {name: make(model) for name, make in published("cifar10").items()}
    code = {name: make(model) for name, make in published("cifar10", definition="paper_code").items()}
    assert [*code] == [*paper]
    differing = {}
    of_other_classes = {
        name: type(method).__name__ for name, method in code.items() if type(method) is not type(paper[name])
    }
    assert of_other_classes == {"gradient": "Saliency"}
    for name, method in code.items():
        mine = {key: value for key, value in vars(method).items() if isinstance(value, (int, float, str))}
        differing[name] = {key: value for key, value in mine.items() if getattr(paper[name], key) != value}
    image = {"input": "image"}
    assert differing == {
        **dict.fromkeys(EVERYWHERE, image),
        "contributions": {},
        "grad_cam": {**image, "interpolation": "nearest"},
        "occlusion_5": {**image, "patch": 4},
        "occlusion_9": {**image, "patch": 8},
    }


@pytest.mark.parametrize("arguments", [("tinyimagenet", "paper_code"), ("cifar10", "mine")])
def test_other_definitions_are_an_error(arguments):
    with pytest.raises(ValueError, match=r"`definition` must be one of \('paper', 'paper_code'\).*Received"):
        published(*arguments)


def test_what_comes_back_can_be_called():
    got = published("cifar10")["gradient"](tiny_models.cnn())(tiny_models.images(), np.array([[0, 1], [2, 3]]))
    assert got.shape == (2, 2, 12, 10, 3)


def test_other_data_sets_are_an_error():
    with pytest.raises(ValueError, match=r"Expected one of \['cifar10', 'tinyimagenet'\]. Received: 'mnist'"):
        published("mnist")
