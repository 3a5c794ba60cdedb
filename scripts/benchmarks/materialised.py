"""Eq. (1) of the paper literally, with the dynamic weights in memory: a baseline of the benchmark."""

import math

import keras
from keras import initializers, ops

from keras_coda.backend.conventions import at_least_float32
from keras_coda.layers import rescaling
from keras_coda.linear_maps.convolution import output_size

SMALLEST_SQUARED_NORM = 1e-12


class MaterialisedDAUConv2D(keras.layers.Layer):
    """`DAUConv2D` with symmetric padding and the rescaling SQ, with weights w_j(x) that are built at every position.

    Its variables have the shapes and the order of those of `DAUConv2D`, so that `set_weights` works between the two.
    """

    def __init__(self, filters, kernel_size, rank, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.rank, self.strides = filters, kernel_size, rank, strides

    def build(self, input_shape):
        patch_shape = (self.kernel_size, self.kernel_size, input_shape[-1])
        reach = 1.0 / math.sqrt(self.rank)
        uniform = initializers.RandomUniform
        fan_in = initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        self.a = self.add_weight((*patch_shape, self.rank, self.filters), uniform(-reach, reach), name="a_kernel")
        self.b = self.add_weight((*patch_shape, self.rank), fan_in, name="b_kernel")
        self.bias = self.add_weight((*patch_shape, self.filters), uniform(-reach, reach), name="bias")
        self.d = math.prod(patch_shape)

    def call(self, inputs):
        around = (self.kernel_size - 1) // 2
        padded = ops.pad(inputs, [(0, 0), (around, around), (around, around), (0, 0)])
        z = ops.conv(padded, self.b, self.strides, "valid", data_format="channels_last")
        u = ops.matmul(z, self._a_by_rank())
        u = ops.reshape(u, (*ops.shape(z)[:-1], self.d, self.filters)) + ops.reshape(self.bias, (self.d, self.filters))
        squared_norms = ops.sum(ops.square(ops.cast(u, at_least_float32(self.variable_dtype))), axis=-2, keepdims=True)
        norms = ops.sqrt(ops.maximum(squared_norms, SMALLEST_SQUARED_NORM))
        w = ops.cast(rescaling.sq(norms), self.compute_dtype) * u
        x = self._patches(padded)
        return ops.squeeze(ops.matmul(ops.expand_dims(x, -2), w), -2)

    def _a_by_rank(self):
        """A as a matrix from z to the weights of all units: `(r, d n)`."""
        a = ops.reshape(ops.convert_to_tensor(self.a), (self.d, self.rank, self.filters))
        return ops.reshape(ops.transpose(a, (1, 0, 2)), (self.rank, self.d * self.filters))

    def _patches(self, padded):
        """Every patch as a vector, `(N, h, w, d)`, put together from slices."""
        height, width = (
            (size - self.kernel_size) // self.strides * self.strides + 1  # from a patch's first pixel to the last's
            for size in padded.shape[1:3]
        )
        pixels = [
            padded[:, row : row + height : self.strides, column : column + width : self.strides]
            for row in range(self.kernel_size)
            for column in range(self.kernel_size)
        ]
        return ops.concatenate(pixels, axis=-1)

    def compute_output_shape(self, input_shape):
        sizes = [output_size(size, self.kernel_size, self.strides, "symmetric") for size in input_shape[1:3]]
        return (input_shape[0], *sizes, self.filters)
