"""Methods that attribute the outputs of Keras image classifiers to their images' pixels. All are called alike:

keras_coda.attributions.Gradient(model)(images, targets)
"""

from keras_coda.attributions.attribution import Attribution
from keras_coda.attributions.classifier import Classifier
from keras_coda.attributions.contributions import Contributions
from keras_coda.attributions.deep_lift import DeepLIFT
from keras_coda.attributions.grad_cam import GradCAM
from keras_coda.attributions.gradient import Gradient, InputXGradient, Saliency
from keras_coda.attributions.guided_backpropagation import GuidedBackpropagation
from keras_coda.attributions.integrated_gradients import IntegratedGradients
from keras_coda.attributions.lime import LIME
from keras_coda.attributions.occlusion import Occlusion
from keras_coda.attributions.published import published
from keras_coda.attributions.rise import RISE
from keras_coda.attributions.smooth_grad import SmoothGrad

__all__ = [
    "LIME",
    "RISE",
    "Attribution",
    "Classifier",
    "Contributions",
    "DeepLIFT",
    "GradCAM",
    "Gradient",
    "GuidedBackpropagation",
    "InputXGradient",
    "IntegratedGradients",
    "Occlusion",
    "Saliency",
    "SmoothGrad",
    "published",
]
