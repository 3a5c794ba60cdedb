"""The one sum that a DAU layer takes of its patches, and its derivatives, which are of the same kind.

    sum over d, r, j of  x_d z_r y_j K_drj

for each of M patches: `x (M, d)` the patch, `z (M, r)` its coefficients z' = [B x; 1], `y (M, n)` the units, and
`K (d, r, n)` the weights [A_j | b_j]. Leaving out one of the four gives what a layer needs (paper, eq. 1 and 7):

    y  the products u_j . x              ("products")
    x  the transposed map                ("input_gradient")
    z  a gradient                        ("z_gradient")
    K  a gradient                        ("kernel_gradient")

A squared norm is such a sum, too, with x = z and K_j = G_j symmetric ("quadratic", "quadratic_z_gradient"
without its factor 2, "quadratic_gradient"); K and G are in float32 at least there, whatever the dtype of z.

How they are computed is up to `kernels`, an object with these functions, see `keras_coda.contractions.blocked`.
"""

from keras import ops

from keras_coda import backend


def products(kernels, x, z, kernel):
    """`y_j = sum_{d, r} x_d z_r K_drj`, differentiable: `(M, n)`, in the dtype of x; the gradient of K in its own."""
    # Asked for here: while PyTorch computes gradients, it records none.
    to_inputs = backend.records_gradients(x)
    keep = backend.records_gradients(z) and kernel.shape[0] >= kernels.KEPT_FROM

    def forward(x, z, kernel):
        low = ops.cast(kernel, x.dtype)
        y, kept = kernels.products_and_kept(x, z, low) if keep else (kernels.products(x, z, low), [])
        return y, (x, z, kernel, *kept)

    def backward(residuals, dy):
        x, z, kernel, *kept = residuals
        low = ops.cast(kernel, x.dtype)
        return (
            kernels.input_gradient(z, dy, low) if to_inputs else None,
            kernels.z_gradient_of_kept(kept, dy, z.shape[1]) if keep else kernels.z_gradient(x, dy, low),
            ops.cast(kernels.kernel_gradient(x, z, dy), kernel.dtype),
        )

    return backend.custom_gradient(forward, backward)(x, z, kernel)


def transposed_products(kernels, y, z, kernel):
    """`x_d = sum_{r, j} z_r y_j K_drj`, differentiable: `(M, d)`, in the dtype of y; the gradient of K in its own."""

    def forward(y, z, kernel):
        return kernels.input_gradient(z, y, ops.cast(kernel, y.dtype)), (y, z, kernel)

    def backward(residuals, dx):
        y, z, kernel = residuals
        low = ops.cast(kernel, y.dtype)
        return (
            kernels.products(dx, z, low),
            kernels.z_gradient(dx, y, low),
            ops.cast(kernels.kernel_gradient(dx, z, y), kernel.dtype),
        )

    return backend.custom_gradient(forward, backward)(y, z, kernel)


def squared_norms(kernels, z, kernel):
    """`|u_j|^2 = z . G_j z` with `u_j = K_j z` and G_j = K_j^T K_j, differentiable: `(M, n)`, in the dtype of K."""

    def forward(z, kernel):
        by_unit = _by_unit(kernel)
        gram = ops.matmul(by_unit, ops.transpose(by_unit, (0, 2, 1)))
        # Some backends of Keras multiply float64 in float32.
        gram = ops.transpose(ops.cast(gram, kernel.dtype), (1, 2, 0))
        return kernels.quadratic(z, gram), (z, kernel, gram)

    def backward(residuals, ds):
        z, kernel, gram = residuals
        # G_j is symmetric, and so is its gradient.
        dz = ops.cast(2.0 * kernels.quadratic_z_gradient(z, ds, gram), z.dtype)
        dgram = ops.cast(kernels.quadratic_gradient(z, ds), kernel.dtype)
        dkernel = 2.0 * ops.matmul(ops.transpose(dgram, (2, 0, 1)), _by_unit(kernel))
        return dz, ops.cast(ops.transpose(dkernel, (2, 1, 0)), kernel.dtype)

    return backend.custom_gradient(forward, backward)(z, kernel)


def _by_unit(kernel):
    """`kernel (d, r, n)` as `(n, r, d)`."""
    d, rank, units = kernel.shape
    # As a vector first: PyTorch would otherwise only change the strides, for which its products are slow.
    return ops.reshape(ops.reshape(ops.transpose(kernel, (2, 1, 0)), (-1,)), (units, rank, d))
