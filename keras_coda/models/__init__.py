"""CoDA-Nets."""

from keras_coda.models.coda_net import CoDANet

__all__ = ["CoDANet"]
