"""CoDA-Nets in NumPy and float64, written from the paper's equations with every weight vector built."""

import math

import numpy as np

# alpha(s) and its derivative; "sq" and "l2" are eq. (2), the third is one of a user's own.
RESCALINGS = {
    "sq": (lambda s: s / (1 + s**2), lambda s: (1 - s**2) / (1 + s**2) ** 2),
    "l2": (lambda s: 1 / s, lambda s: -1 / s**2),
    "inverse": (lambda s: 1 / (1 + s), lambda s: -1 / (1 + s) ** 2),
}


def relative_error(got, want):
    """|got - want| / |want|, for arrays of the same shape."""
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, f"{got.shape} is not {want.shape}"
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def dau(x, a, b, bias, rescaling="sq"):
    """Eq. (1): `w_j(x) = alpha(|u_j|) u_j`, with `u_j = A_j B x + b_j`, and `w_j(x) . x`.

    Args:
        x: `(P, d)`, patches.
        a: `(d, r, n)`, A of n units.
        b: `(r, d)` transposed: `(d, r)`, B.
        bias: `(d, n)` or `None`.
        rescaling: a key of `RESCALINGS`.

    Returns:
        `(outputs, weights)`: `(P, n)` and `(P, d, n)`.
    """
    alpha, _ = RESCALINGS[rescaling]
    u = np.einsum("drn,pr->pdn", a, x @ b) + (0 if bias is None else bias)
    weights = alpha(np.linalg.norm(u, axis=1, keepdims=True)) * u
    return np.einsum("pdn,pd->pn", weights, x), weights


def dau_gradients(x, a, b, bias, rescaling, cotangent):
    """Gradients of `sum(outputs * cotangent)` of `dau` in x, a, b and bias, by the chain rule."""
    alpha, derivative = RESCALINGS[rescaling]
    z = x @ b
    u = np.einsum("drn,pr->pdn", a, z) + (0 if bias is None else bias)
    s = np.linalg.norm(u, axis=1, keepdims=True)
    g = cotangent[:, None, :]
    along = np.einsum("pdn,pd->pn", u, x)[:, None, :]
    # y = alpha(s) u . x, where s = |u| and ds/du = u / s.
    du = g * (alpha(s) * x[:, :, None] + derivative(s) / s * along * u)
    dz = np.einsum("drn,pdn->pr", a, du)
    dx = (g * alpha(s) * u).sum(-1) + dz @ b.T
    return dx, np.einsum("pdn,pr->drn", du, z), x.T @ dz, None if bias is None else du.sum(0)


def _first_pixels(size, kernel, stride, padding):
    """The first pixel of every patch along an axis; negative ones are zero padding."""
    before, count = 0, None
    if padding == "same":
        count = math.ceil(size / stride)
        before = max((count - 1) * stride + kernel - size, 0) // 2
    elif padding == "symmetric":
        before = (kernel - 1) // 2
    if count is None:
        count = (size + 2 * before - kernel) // stride + 1
    return [i * stride - before for i in range(count)]


def patch_indices(image_shape, kernel, strides, padding):
    """Where each patch's numbers are in a flattened image `(H, W, C)`: `(h, w, d)`, with H W C for zero padding."""
    height, width, channels = image_shape
    index = np.pad(
        np.arange(height * width * channels).reshape(image_shape),
        [(kernel[0], kernel[0] + strides[0]), (kernel[1], kernel[1] + strides[1]), (0, 0)],
        constant_values=height * width * channels,
    )
    rows = _first_pixels(height, kernel[0], strides[0], padding)
    columns = _first_pixels(width, kernel[1], strides[1], padding)
    return np.array(
        [
            [index[r + kernel[0] : r + 2 * kernel[0], c + kernel[1] : c + 2 * kernel[1]].reshape(-1) for c in columns]
            for r in rows
        ]
    )


class Convolution:
    """A layer of DAUs on the patches of images `(N, H, W, C)`, in channels-last layout.

    Args:
        a, b, bias: the layer's kernels `(k, k, C, r, n)`, `(k, k, C, r)` and `(k, k, C, n)` or `None`.
        strides, padding, rescaling: as for `DAUConv2D`.
    """

    def __init__(self, a, b, bias, strides=1, padding="symmetric", rescaling="sq"):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        self.kernel, self.kernel_shapes = a.shape[:2], (a.shape, b.shape, None if bias is None else np.shape(bias))
        self.a, self.b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, b.shape[-1])
        self.bias = None if bias is None else np.asarray(bias, "float64").reshape(-1, a.shape[-1])
        self.strides = (strides, strides) if isinstance(strides, int) else strides
        self.padding, self.rescaling = padding, rescaling

    def _patches(self, images):
        index = patch_indices(images.shape[1:], self.kernel, self.strides, self.padding)
        padded = np.concatenate([images.reshape(len(images), -1), np.zeros((len(images), 1))], axis=1)
        return index, padded[:, index]

    def __call__(self, images):
        """Eq. (5): the outputs `(N, h, w, n)` and the matrices `(N, h w n, H W C)` that made them."""
        images = np.asarray(images, "float64")
        index, patches = self._patches(images)
        h, w, d = index.shape
        outputs, weights = dau(patches.reshape(-1, d), self.a, self.b, self.bias, self.rescaling)
        weights = weights.reshape(len(images), h * w, d, -1)
        matrix = np.zeros((len(images), h * w, weights.shape[-1], images[0].size + 1))
        for position, entries in enumerate(index.reshape(h * w, d)):
            matrix[:, position, :, entries] = np.moveaxis(weights[:, position], 1, 0)
        return (
            outputs.reshape(len(images), h, w, -1),
            matrix.reshape(len(images), -1, images[0].size + 1)[..., :-1],
        )

    def gradients(self, images, cotangent):
        """Gradients of `sum(outputs * cotangent)` in the images and the kernels a, b and bias."""
        images = np.asarray(images, "float64")
        index, patches = self._patches(images)
        d = index.shape[-1]
        cotangent = np.asarray(cotangent, "float64").reshape(-1, self.a.shape[-1])
        dx, *kernels = dau_gradients(patches.reshape(-1, d), self.a, self.b, self.bias, self.rescaling, cotangent)
        padded = np.zeros((len(images), images[0].size + 1))
        for image, patch in zip(padded, dx.reshape(len(images), *index.shape), strict=True):
            np.add.at(image, index, patch)
        pairs = zip(kernels, self.kernel_shapes, strict=True)
        return [padded[:, :-1].reshape(images.shape), *(g.reshape(s) for g, s in pairs if g is not None)]


def encode(images):
    """[r, g, b, 1 - r, 1 - g, 1 - b] (3.4)."""
    return np.concatenate([images, 1 - images], axis=-1)


def coda_net(images, layers):
    """Eq. (7), before the temperature: a network's summed outputs and its matrix, as the product of its layers'.

    Args:
        images: `(N, H, W, C)`.
        layers: list of `Convolution`.

    Returns:
        `(outputs, matrix)`: `(N, classes)`, and `(N, classes, H W 2C)` from the encoded image.
    """
    outputs = encode(np.asarray(images, "float64"))
    product = np.eye(outputs[0].size)
    for layer in layers:
        outputs, matrix = layer(outputs)
        product = matrix @ product
    classes = outputs.shape[-1]
    sum_pooling = np.tile(np.eye(classes), outputs.shape[1] * outputs.shape[2])
    return outputs.sum((1, 2)), sum_pooling @ product


def layers_of(model):
    """The DAU layers of a `CoDANet`, with the weights it has now."""
    return [
        Convolution(
            *(None if kernel is None else np.array(kernel) for kernel in (layer.a_kernel, layer.b_kernel, layer.bias)),
            layer.strides,
            layer.padding,
            layer.rescaling.__name__,
        )
        for layer in model.layers
        if hasattr(layer, "a_kernel")
    ]


class Affine:
    """The tensors of a branched network as affine functions of its inputs, at one point, in float64.

    A tensor is an array `(N, *shape, D + 1)`, with the slopes in the D numbers of all inputs along the last axis, and
    the constant at its end. So sums, slices and joins of tensors are those of these arrays.

    Args:
        inputs: arrays `(N, ...)`, in the order of the explanation's sources.
    """

    def __init__(self, *inputs):
        self.shapes = [np.shape(x)[1:] for x in inputs]
        flat = [np.reshape(np.asarray(x, "float64"), (len(x), -1)) for x in inputs]
        self.point = np.concatenate([*flat, np.ones((len(flat[0]), 1))], axis=1)

    def inputs(self):
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = np.split(np.eye(sum(sizes), sum(sizes) + 1), np.cumsum(sizes)[:-1])
        return [
            np.tile(p.reshape(1, *s, -1), (len(self.point),) + (1,) * (len(s) + 1))
            for p, s in zip(parts, self.shapes, strict=True)
        ]

    def value(self, x):
        return np.einsum("n...d,nd->n...", x, self.point)

    def shift(self, x, constant):
        return np.concatenate([x[..., :-1], x[..., -1:] + np.expand_dims(constant, -1)], axis=-1)

    def _patches(self, x, kernel, strides, padding):
        index = patch_indices(x.shape[1:-1], kernel, strides, padding)
        flat = x.reshape(len(x), -1, x.shape[-1])
        return index, np.concatenate([flat, np.zeros_like(flat[:, :1])], axis=1)[:, index]

    def convolve(self, x, kernel, bias, padding="same"):
        _, patches = self._patches(x, kernel.shape[:2], (1, 1), padding)
        return self.shift(np.einsum("...dk,dn->...nk", patches, kernel.reshape(-1, kernel.shape[-1])), bias)

    def bcos(self, x, kernel):
        """w . x |cos(x, w)| of w with unit norm, for kernels that are centred."""
        kernel = kernel / np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        _, patches = self._patches(x, kernel.shape[:2], (1, 1), "same")
        outputs = self.convolve(x, kernel, 0.0)
        norms = np.linalg.norm(self.value(patches), axis=-1, keepdims=True)
        return outputs * np.abs(self.value(outputs) / norms)[..., None]

    def dau(self, x, layer):
        """A `DAUConv2D`, or a `DAUDense`, with the weights it has now."""
        a, b, bias = (np.array(w, "float64") for w in (layer.a_kernel, layer.b_kernel, layer.bias))
        if b.ndim == 2:
            patches = x[:, None]
        else:
            _, patches = self._patches(x, b.shape[:2], layer.strides, layer.padding)
        d, r, n = b.size // b.shape[-1], *a.shape[-2:]
        values = self.value(patches)
        _, weights = dau(values.reshape(-1, d), a.reshape(d, r, n), b.reshape(d, r), bias.reshape(d, n))
        outputs = np.einsum("...dk,...dn->...nk", patches, weights.reshape(*values.shape, n))
        return outputs[:, 0] if b.ndim == 2 else outputs

    def normalize(self, x, layer):
        """A `BatchNormalization` of the last axis, in inference."""
        gamma, beta, mean, variance = (np.array(w, "float64") for w in layer.get_weights())
        factor = gamma / np.sqrt(variance + layer.epsilon)
        return self.shift(x * factor[:, None], beta - mean * factor)

    def relu(self, x, slope=0.0):
        return x * np.where(self.value(x) > 0, 1.0, slope)[..., None]

    def max_pool(self, x, size):
        index, patches = self._patches(x, (size, size), (size, size), "same")
        cells = (*index.shape[:2], size * size, x.shape[-2])
        inside = (index < math.prod(x.shape[1:-1])).reshape(cells)
        patches = patches.reshape(len(x), *cells, x.shape[-1])
        chosen = np.where(inside, self.value(patches), -np.inf).argmax(axis=-2)[..., None, :, None]
        return np.take_along_axis(patches, chosen, axis=-3)[..., 0, :, :]
