"""Dynamic linear layers as matrices: applied, transposed, multiplied (paper, eq. 5 to 7)."""

from keras_coda.linear_maps.graph import Graph, linear_map, linear_map_through
from keras_coda.linear_maps.linear_map import LinearMap, NotDynamicLinearError
from keras_coda.linear_maps.unrolling import follows_graph

__all__ = [
    "Graph",
    "LinearMap",
    "NotDynamicLinearError",
    "follows_graph",
    "linear_map",
    "linear_map_through",
]
