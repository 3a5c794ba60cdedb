"""One convolution with all filters, and one batched product with z."""

from keras import ops

from keras_coda.backend.conventions import at_least_float32
from keras_coda.contractions.contraction import Contraction, contract


class DirectContraction(Contraction):
    """A^T v of all patches by one convolution with r n filters, and the sum over the rank by a batched product."""

    def __init__(self, layer, inputs):
        super().__init__(layer, inputs)
        kernel = ops.cast(layer.a_kernel, layer.compute_dtype)
        # A's rank and units side by side, as the filters of one convolution.
        self.kernel = ops.reshape(kernel, (*kernel.shape[:-2], layer.rank * layer.units))
        self.bias = ops.cast(layer.bias, layer.compute_dtype) if layer.use_bias else None
        self.z = layer.correlate(inputs, ops.cast(layer.b_kernel, layer.compute_dtype))
        self.scaled_z = self._scaled(self.z)

    def products_and_squared_norms(self):
        return self.products(self.inputs), self.squared_norms()

    def products(self, v):
        result = contract(self.scaled_z, self._split(self.layer.correlate(v, self.kernel)))
        if self.bias is not None:
            result = result + self._of_bias(self.layer.correlate(v, self.bias))
        return result

    def transpose(self, outputs):
        outer = ops.expand_dims(self.scaled_z, -1) * ops.expand_dims(outputs, -2)
        outer = ops.reshape(outer, (*ops.shape(outer)[:-2], self.layer.rank * self.layer.units))
        result = self.layer.correlate_transpose(outer, self.kernel, self.inputs)
        if self.bias is not None:
            result = result + self.layer.correlate_transpose(self._of_bias(outputs), self.bias, self.inputs)
        return result

    def squared_norms(self):
        layer, dtype = self.layer, at_least_float32(self.layer.variable_dtype)
        z = ops.cast(self.z, dtype)
        a = ops.reshape(ops.cast(layer.a_kernel, dtype), (-1, layer.rank, layer.units))
        gram = ops.matmul(ops.transpose(a, (2, 1, 0)), ops.transpose(a, (2, 0, 1)))  # (n, r, r): A_j^T A_j
        gram = ops.reshape(ops.transpose(gram, (1, 2, 0)), (layer.rank, layer.rank * layer.units))
        # In the shape of z, not of the product: that tf2onnx takes for another tensor's, where sizes are not known.
        squared = contract(z, ops.reshape(ops.matmul(z, gram), (*ops.shape(z)[:-1], layer.rank, layer.units)))
        if self.bias is not None:
            b = ops.reshape(ops.cast(layer.bias, dtype), (-1, 1, layer.units))
            cross = ops.sum(a * b, axis=0)  # (r, n): A_j^T b_j
            squared = squared + 2.0 * ops.matmul(z, cross) + ops.sum(ops.square(b), axis=(0, 1))
        return squared

    def _of_bias(self, products):
        """Products with b_j, divided by `scale` as those with z are."""
        if self.scale is None:
            return products
        return ops.cast(ops.cast(products, self.scale.dtype) / self.scale, products.dtype)

    def _split(self, filters):
        """`(..., r n)` as `(..., r, n)`."""
        return ops.reshape(filters, (*ops.shape(filters)[:-1], self.layer.rank, self.layer.units))
