"""A convolutional layer of Dynamic Alignment Units."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_coda.backend.conventions import Tensor, channels_last, in_format, move_axis, standardize_data_format
from keras_coda.checks import pair
from keras_coda.layers.dau import DAU
from keras_coda.linear_maps import convolution
from keras_coda.linear_maps.linear_map import LinearMap


@keras.saving.register_keras_serializable(package="keras_coda")
class DAUConv2D(DAU):
    """A convolution whose filters are Dynamic Alignment Units (paper, 3.3).

    Each filter j computes its weights from the patch x that they are applied to: w_j(x) = alpha(|u_j|) u_j, with
    u_j = A_j B x + b_j (paper, eq. 1). The whole layer computes W(a) a for inputs a (paper, eq. 5), and `linear_map`
    returns that matrix.

    |u_j|^2 is computed as a sum of terms, which cancel where b_j is close to -A_j B x. In float32 the error of an
    output is then about 1e-7 (|b_j| / |u_j|)^2 |w_j| |x|, see `docs/benchmarks.md`, "Norms that cancel".

    Args:
        filters: integer, number of filters n.
        kernel_size: integer or two, height and width of the patches.
        rank: integer r, the rank of A_j B.
        strides: integer or two.
        padding: "valid": none. "same", as in Keras: output size = ceil(input size / stride), with the odd zero
            after the image. "symmetric", as in the published networks: (kernel_size - 1) // 2 zeros on each side.
        data_format: "channels_last" or "channels_first"; default: Keras' setting.
        rescaling: "sq" or "l2" (paper, eq. 2), or a function alpha. It takes the positive norms |u_j|, a float tensor
            of any shape. To save models with a function of your own, register it by
            `keras.saving.register_keras_serializable`.
        use_bias: whether u_j has the term b_j.
        a_initializer, b_initializer, bias_initializer: for A, B and b. Default: uniform in +-1/sqrt(fan_in), where
            fan_in is d = height x width x channels for B, and r for A and b, as published.
        a_regularizer, b_regularizer, bias_regularizer: optional `keras.regularizers`.
        a_constraint, b_constraint, bias_constraint: optional `keras.constraints`.
        activity_regularizer: optional regularizer of the outputs.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer. Norms are in float32 under mixed precision.

    Input shape:
        `(N, H, W, C)`, or `(N, C, H, W)` with "channels_first"; a float tensor. H and W may be unknown.

    Output shape:
        `(N, h, w, filters)`, or `(N, filters, h, w)`, in the layer's compute dtype.

    Attributes:
        a_kernel: A, shape `(*kernel_size, C, rank, filters)`.
        b_kernel: B, shape `(*kernel_size, C, rank)`.
        bias: b, shape `(*kernel_size, C, filters)`, or `None`.

    Raises:
        ValueError: an argument is not of the form above; or, at build, the channels are unknown; or the
            image is smaller than the kernel.

    Example:

    >>> layer = keras_coda.layers.DAUConv2D(16, 3, rank=32, strides=2, padding="symmetric")
    >>> layer(np.random.rand(8, 32, 32, 6)).shape
    (8, 16, 16, 16)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        rank: int,
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(units=filters, rank=rank, **kwargs)
        self.filters = filters
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.strides = pair(strides, "strides")
        if padding not in convolution.PADDINGS:
            raise ValueError(f"`padding` must be one of {convolution.PADDINGS}. Received: {padding!r}")
        self.padding = padding
        self.data_format = standardize_data_format(data_format)
        self.channel_axis = -1 if self.data_format == "channels_last" else -3

    def build(self, input_shape: tuple) -> None:
        if len(input_shape) != 4 or input_shape[self.channel_axis] is None:
            raise ValueError(
                "DAUConv2D needs inputs of 4 axes, batch, height, width and a known number of channels "
                f"({self.data_format}). Received: input_shape={input_shape}"
            )
        channels = input_shape[self.channel_axis]
        self._add_weights((*self.kernel_size, channels))
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={self.channel_axis: channels})

    def correlate(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        return convolution.convolve(inputs, kernel, self.strides, self.padding)

    def correlate_transpose(self, outputs: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        size = ops.shape(like)[-3:-1]
        return convolution.convolve_transpose(outputs, kernel, self.strides, self.padding, size)

    def patches(self, inputs: Tensor) -> Tensor:
        return convolution.patches(inputs, self.kernel_size, self.strides, self.padding)

    def patches_transpose(self, patches: Tensor, like: Tensor) -> Tensor:
        size = ops.shape(like)[-3:-1]
        return convolution.patches_transpose(patches, self.kernel_size, self.strides, self.padding, size)

    def linear_map(self, inputs: Tensor) -> tuple[Tensor, LinearMap]:
        self.compute_output_shape(inputs.shape)  # raises an error where the image is smaller than the kernel
        if self.data_format == "channels_last":
            return super().linear_map(inputs)
        outputs, W = super().linear_map(move_axis(inputs, -3, -1))
        first = LinearMap(
            lambda v: move_axis(W @ move_axis(v, -3, -1), -1, -3),
            lambda u: move_axis(W.T @ move_axis(u, -3, -1), -1, -3),
        )
        return move_axis(outputs, -1, -3), first

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        axes = zip(channels_last(input_shape[1:], self.data_format)[:2], self.kernel_size, self.strides, strict=True)
        sizes = [convolution.output_size(*axis, self.padding) for axis in axes]
        if any(isinstance(size, int) and size < 1 for size in sizes):
            raise ValueError(
                f"DAUConv2D with kernel_size={self.kernel_size} and padding={self.padding!r} finds no position "
                f"in images of shape {tuple(input_shape[1:])}."
            )
        return (input_shape[0], *in_format((*sizes, self.filters), self.data_format))

    def get_config(self) -> dict:
        config = super().get_config()
        del config["units"]
        return {
            **config,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }
