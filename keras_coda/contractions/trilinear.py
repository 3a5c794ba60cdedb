"""The trilinear form by which a DAU layer computes:

    sum over d, r, j of  x_d z_r y_j K_drj

for each of M patches. `x (M, d)` is the patch, `z (M, r)` its coefficients z' = [B x; 1], `y (M, n)` are factors of
the units, and `K (d, r, n)` are the weights [A_j | b_j]. Its derivative in one of the four is what a layer needs
(paper, eq. 1 and 7):

    y  the products u_j . x              ("products")
    x  the transposed map                ("input_gradient")
    z  a gradient                        ("z_gradient")
    K  a gradient                        ("kernel_gradient")

Squared norms are such a form as well, with x = z and a symmetric K_j = G_j: "quadratic", "quadratic_z_gradient"
(without its factor 2) and "quadratic_gradient". There, K and G are in at least float32, whatever the dtype of z.

The functions here are differentiable. They call those named above on `kernels`, a module such as
`keras_coda.contractions.blocked`.
"""

from keras import ops

from keras_coda import backend


def products(kernels, x, z, kernel):
    """`y_j = sum_{d, r} x_d z_r K_drj`, differentiable: `(M, n)`, in the dtype of x. K's gradient has K's dtype."""
    # Asked before the backward pass, in which PyTorch records no gradients.
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
    """`x_d = sum_{r, j} z_r y_j K_drj`, differentiable: `(M, d)`, in the dtype of y. K's gradient has K's dtype."""

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
    # By way of a vector, which copies. A transpose alone only changes strides, which makes PyTorch's products slow.
    return ops.reshape(ops.reshape(ops.transpose(kernel, (2, 1, 0)), (-1,)), (units, rank, d))
