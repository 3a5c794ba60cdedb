"""Dynamic linear layers as matrices: applied, transposed, multiplied (paper, eq. 5 to 7)."""

from keras_coda.linear_maps.chain import chain, linear_map_through
from keras_coda.linear_maps.linear_map import LinearMap
from keras_coda.linear_maps.rules import NotDynamicLinearError, linear_map

__all__ = ["LinearMap", "NotDynamicLinearError", "chain", "linear_map", "linear_map_through"]
