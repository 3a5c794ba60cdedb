"""Products with the weights u_j(x) = A_j B x + b_j of a DAU layer, without building the weights."""

from keras_coda.contractions.contraction import Contraction
from keras_coda.contractions.setting import FORMS, contraction, make_contraction, set_contraction, using

__all__ = ["FORMS", "Contraction", "contraction", "make_contraction", "set_contraction", "using"]
