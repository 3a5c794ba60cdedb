"""CoDA-Nets, hybrids of them with other networks, and the residual network they are compared with."""

from keras_coda.models.coda_net import CoDANet
from keras_coda.models.hybrid import hybrid
from keras_coda.models.resnet56 import ResNet56

__all__ = ["CoDANet", "ResNet56", "hybrid"]
