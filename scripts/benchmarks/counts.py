"""Multiply-adds and bytes of each layer, counted from a network's layout."""

import dataclasses
import math

import keras

from keras_coda.linear_maps.convolution import output_size

BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclasses.dataclass(frozen=True)
class DAUCounts:
    """The counts of one DAU layer on one image, in the form that does not build the weights.

    With z' = [z; 1] and K_j = [A_j | b_j], unit j computes z' . (K_j^T x) and z' . G_j z', where G_j = K_j^T K_j.

    Args:
        input_numbers: numbers in the layer's input.
        positions: positions of the kernel.
        d: numbers in a patch.
        n: units.
        r: rank.
        number: bytes of a number in an activation.
        weight: bytes of a number in a weight.
    """

    input_numbers: int
    positions: int
    d: int
    n: int
    r: int
    number: int = 4
    weight: int = 4

    @property
    def convolutions(self):
        """Multiply-adds of B x and of K^T x for all units: a convolution with n (r + 1) + r filters."""
        return self.positions * self.d * (self.n * (self.r + 1) + self.r)

    @property
    def contraction(self):
        """Multiply-adds of z' . (K_j^T x)."""
        return self.positions * self.n * (self.r + 1)

    @property
    def norms(self):
        """Multiply-adds of z' . G_j z'."""
        return self.positions * self.n * (self.r + 1) * (self.r + 2)

    @property
    def multiply_adds(self):
        """All multiply-adds of an image."""
        return self.convolutions + self.contraction + self.norms

    @property
    def gram(self):
        """Multiply-adds of G, once a batch."""
        return self.d * self.n * (self.r + 1) ** 2

    @property
    def materialised(self):
        """Multiply-adds of an image if the weights are built: B x, A z + b, |u|, alpha u and its product with x."""
        return self.positions * self.d * (self.r + self.n * (self.r + 3))

    @property
    def input_bytes(self):
        """Bytes of the layer's input."""
        return self.input_numbers * self.number

    @property
    def output_bytes(self):
        """Bytes of the layer's output."""
        return self.positions * self.n * self.number

    @property
    def intermediate_bytes(self):
        """Bytes of K^T x for all units."""
        return self.positions * self.n * (self.r + 1) * self.number

    @property
    def dynamic_weight_bytes(self):
        """Bytes of the weights w_j(x) of all positions, if they are built."""
        return self.positions * self.d * self.n * self.number

    @property
    def weight_bytes(self):
        """Bytes of A, B and b."""
        return self.d * (self.n * (self.r + 1) + self.r) * self.weight

    def intensity(self, batch, keeps_intermediate):
        """Multiply-adds per byte moved: input, weights and output once, and the intermediate twice if it is kept.

        Compared with the same ratio of the machine (multiply-adds per second over bytes per second), it tells which of
        the two limits the layer.
        """
        moved = self.input_bytes + self.output_bytes + 2 * self.intermediate_bytes * keeps_intermediate
        return (self.multiply_adds * batch + self.gram) / (moved * batch + self.weight_bytes)


def dau_layers(layout, image_size, dtype="float32", channels=6):
    """`DAUCounts` of each layer of a CoDA-Net on square images with `channels` channels after the encoding."""
    policy = keras.dtype_policies.get(dtype)
    numbers = {"number": BYTES[policy.compute_dtype], "weight": BYTES[policy.variable_dtype]}
    layers, size = [], image_size
    lists = (layout[key] for key in ("filters", "kernel_sizes", "ranks", "strides"))
    for n, kernel_size, rank, stride in zip(*lists, strict=True):
        input_numbers = size * size * channels
        size = output_size(size, kernel_size, stride, "symmetric")
        layers.append(DAUCounts(input_numbers, size * size, kernel_size**2 * channels, n, rank, **numbers))
        channels = n
    return layers


def of_built_layers(model):
    """Multiply-adds of an image in each `Conv2D` and `Dense` layer of a built Functional model."""
    counts = []
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            positions = math.prod(layer.output.shape[1:-1])
            counts.append(positions * math.prod(layer.kernel.shape))
    return counts


def multiply_adds(name, model, layers):
    """Multiply-adds of an image, forward, in the network called `name`."""
    if name == "ours":
        return sum(layer.multiply_adds for layer in layers)
    if name == "materialised":
        return sum(layer.materialised for layer in layers)
    return sum(of_built_layers(model))
