"""Methods that take gradients against Captum's, for the same weights and images, to 1e-5 of the largest value.

On the PyTorch backend alone, on which Captum runs.
"""

import keras
import numpy as np
import pytest
import tiny_models

from keras_coda.attributions import (
    DeepLIFT,
    GradCAM,
    Gradient,
    GuidedBackpropagation,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)

if keras.backend.backend() != "torch":
    pytest.skip("Captum is compared with on the PyTorch backend.", allow_module_level=True)

import torch
from captum import attr
from torch import nn

TARGETS = np.array([[1, 3], [0, 2]])


class Copy(nn.Module):
    """The same values in another tensor.

    Captum's DeepLIFT hooks both sides of a module. Where a pooling takes the very tensor that a ReLU returns, the hooks
    are called in the wrong order, and its attributions do not add up to the difference of the outputs.
    """

    def forward(self, x):
        return x.clone()


@pytest.fixture(scope="module")
def models():
    """`tiny_models.cnn` in Keras and in PyTorch."""
    model = tiny_models.cnn()
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        Copy(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 3 * 6, tiny_models.CLASSES),
    )
    weights = [torch.tensor(w) for w in model.get_weights()]
    for kernel in (0, 2):
        weights[kernel] = weights[kernel].permute(3, 2, 0, 1)
    # PyTorch flattens channels first.
    weights[4] = weights[4].reshape(4, 3, 6, -1).permute(3, 2, 0, 1).reshape(-1, 4 * 3 * 6)
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
    network.cpu().eval()
    images = tiny_models.images()
    with torch.no_grad():
        outputs = network(to_torch(images)).numpy()
    np.testing.assert_allclose(model.predict(images, verbose=0), outputs, atol=1e-5)
    return model, network


def to_torch(images):
    return torch.tensor(np.moveaxis(images, -1, 1))


def captum(attribute, images, **settings):
    """Captum's attributions `(N, K, H, W, C)` to `TARGETS`."""
    by_target = [attribute(to_torch(images), target=torch.tensor(target), **settings) for target in TARGETS.T]
    return np.moveaxis(np.stack([a.detach().numpy() for a in by_target], axis=1), 2, -1)


def assert_same(got, want):
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_gradient(models):
    model, network = models
    images = tiny_models.images()
    assert_same(Gradient(model)(images, TARGETS), captum(attr.Saliency(network).attribute, images, abs=False))


def test_saliency(models):
    model, network = models
    images = tiny_models.images()
    assert_same(Saliency(model)(images, TARGETS), captum(attr.Saliency(network).attribute, images))


def test_input_x_gradient(models):
    model, network = models
    images = tiny_models.images()
    assert_same(InputXGradient(model)(images, TARGETS), captum(attr.InputXGradient(network).attribute, images))


def test_integrated_gradients(models):
    """Of the same quadrature."""
    model, network = models
    images, baselines = tiny_models.images(), tiny_models.images(seed=1)
    want = captum(attr.IntegratedGradients(network).attribute, images, baselines=to_torch(baselines), n_steps=20)
    assert_same(IntegratedGradients(model, baseline=baselines, batch_size=7)(images, TARGETS), want)


def test_guided_backpropagation(models):
    model, network = models
    images = tiny_models.images()
    want = captum(attr.GuidedBackprop(network).attribute, images)
    assert_same(GuidedBackpropagation(model)(images, TARGETS), want)
    assert np.abs(want - Gradient(model)(images, TARGETS)).max() > 0.1 * np.abs(want).max()


@pytest.mark.parametrize(("layer", "module"), [(None, 5), (0, 1)])
def test_grad_cam(models, layer, module):
    """With the ReLU that Captum leaves to the user, enlarged by Captum's `interpolate`."""
    model, network = models
    images = tiny_models.images()
    cam = attr.LayerGradCam(network, network[module])
    want = captum(
        lambda *args, **kwargs: attr.LayerAttribution.interpolate(
            cam.attribute(*args, relu_attributions=True, **kwargs), tiny_models.IMAGE_SHAPE[:2], "bilinear"
        ),
        images,
    )
    assert want.any()
    layer = None if layer is None else model.layers[layer]
    assert_same(GradCAM(model, layer)(images, TARGETS), want[..., 0])


@pytest.mark.parametrize("baseline", ["0", "images"])
def test_deep_lift(models, baseline):
    """ReLUs, and maximum pooling of windows that do not overlap, which Captum is restricted to."""
    model, network = models
    images = tiny_models.images()
    baselines = tiny_models.images(seed=1) if baseline == "images" else np.zeros_like(images)
    want = captum(attr.DeepLift(network).attribute, images, baselines=to_torch(baselines))
    assert_same(DeepLIFT(model, baselines)(images, TARGETS), want)


def test_smooth_grad_in_mean(models):
    """Of other noise: to within four standard errors of the difference between two means, in the norm."""
    model, network = models
    images, samples = tiny_models.images(), 500
    deviations = 0.15 * np.ptp(images, axis=(1, 2, 3))
    torch.manual_seed(0)
    tunnel = attr.NoiseTunnel(attr.Saliency(network))
    want = np.concatenate(
        [
            captum_of_one(tunnel, images[i : i + 1], TARGETS[i], stdevs=float(deviations[i]), nt_samples=samples)
            for i in range(len(images))
        ]
    )
    got = SmoothGrad(model, samples=samples)(images, TARGETS)
    gradient = Gradient(model)
    rng = np.random.default_rng(1)
    noisy = [images + deviations[:, None, None, None] * rng.standard_normal(images.shape) for _ in range(30)]
    spread = np.std([gradient(x.astype("float32"), TARGETS) for x in noisy], axis=0)
    error = np.sqrt(2 / samples * np.sum(spread**2))
    assert np.linalg.norm(got - want) < 4 * error
    # Which the gradient alone does not pass.
    assert np.linalg.norm(gradient(images, TARGETS) - want) > 8 * error


def captum_of_one(tunnel, image, targets, **settings):
    by_target = [
        tunnel.attribute(to_torch(image), target=int(t), abs=False, nt_samples_batch_size=50, **settings)
        for t in targets
    ]
    return np.moveaxis(np.stack([a.detach().numpy() for a in by_target], axis=1), 2, -1)
