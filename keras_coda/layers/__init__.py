"""Dynamic Alignment Units and the other layers of CoDA-Nets."""

from keras_coda.layers.contribution_source import ContributionSource
from keras_coda.layers.dau_conv2d import DAUConv2D
from keras_coda.layers.dau_dense import DAUDense
from keras_coda.layers.input_encoding import InputEncoding
from keras_coda.layers.logit_scaling import LogitScaling
from keras_coda.layers.rescaling import l2, sq
from keras_coda.layers.sum_pooling2d import SumPooling2D

__all__ = [
    "ContributionSource",
    "DAUConv2D",
    "DAUDense",
    "InputEncoding",
    "LogitScaling",
    "SumPooling2D",
    "l2",
    "sq",
]
