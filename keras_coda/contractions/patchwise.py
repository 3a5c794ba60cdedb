"""The contraction on patches that are cut out first."""

from keras import ops

from keras_coda.backend.conventions import at_least_float32
from keras_coda.contractions import trilinear
from keras_coda.contractions.contraction import Contraction


class PatchwiseContraction(Contraction):
    """The contraction as the sum of `trilinear`, with the bias as one more column: z' = [z; 1] and K_j = [A_j | b_j].

    Args:
        layer: the `DAU` layer.
        inputs: tensor x, as the layer takes it, in its compute dtype.
        kernels: module that computes the sum and its derivatives, such as `keras_coda.contractions.blocked`.
    """

    def __init__(self, layer, inputs, kernels):
        super().__init__(layer, inputs)
        self.kernels = kernels
        self.kernel = self._kernel(at_least_float32(layer.variable_dtype))
        self.patches = layer.patches(inputs)
        b_kernel = ops.cast(layer.b_kernel, layer.compute_dtype)
        # As rows: in the gradient in B, JAX 0.11.2 sums over several axes in bfloat16 on CPUs.
        z = ops.matmul(_rows(self.patches), ops.reshape(b_kernel, (-1, layer.rank)))
        z = ops.reshape(ops.cast(z, layer.compute_dtype), (*ops.shape(self.patches)[:-1], layer.rank))
        self.z = ops.concatenate([z, ops.ones_like(z[..., :1])], axis=-1) if layer.use_bias else z
        self.scaled_z = self._scaled(self.z)

    def _kernel(self, dtype):
        """K, `(d, r + 1, n)`."""
        layer = self.layer
        kernel = ops.reshape(ops.cast(layer.a_kernel, dtype), (-1, layer.rank, layer.units))
        if layer.use_bias:
            bias = ops.reshape(ops.cast(layer.bias, dtype), (-1, 1, layer.units))
            kernel = ops.concatenate([kernel, bias], axis=1)
        return kernel

    def products_and_squared_norms(self):
        squared_norms = trilinear.squared_norms(self.kernels, _rows(self.z), self.kernel)
        return self.products(self.inputs), ops.reshape(squared_norms, self._shape_of_outputs(self.patches))

    def products(self, v):
        patches = self.patches if v is self.inputs else self.layer.patches(v)
        shape = self._shape_of_outputs(patches)
        result = trilinear.products(self.kernels, _rows(patches), _rows(self._z_for(patches)), self.kernel)
        return ops.reshape(result, shape)

    def transpose(self, outputs):
        z = self._z_for(outputs)
        patches = trilinear.transposed_products(self.kernels, _rows(outputs), _rows(z), self.kernel)
        patches = ops.reshape(patches, (*ops.shape(outputs)[:-1], self.kernel.shape[0]))
        return self.layer.patches_transpose(patches, self.inputs)

    def _shape_of_outputs(self, patches):
        return (*ops.shape(patches)[:-1], self.layer.units)

    def _z_for(self, vectors):
        """z' / scale, repeated for all vectors of a position: `(*vectors.shape[:-1], r + 1)`."""
        return ops.broadcast_to(self.scaled_z, (*ops.shape(vectors)[:-1], self.z.shape[-1]))


def _rows(tensor):
    return ops.reshape(tensor, (-1, tensor.shape[-1]))
