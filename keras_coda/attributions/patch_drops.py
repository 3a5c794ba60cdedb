"""Drops of a CoDA-Net's outputs when a patch is covered. Layers are computed anew only where they see the patch."""

import dataclasses
import itertools
import math

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from keras_coda import backend
from keras_coda.attributions.baseline import broadcast
from keras_coda.attributions.classifier import Classifier
from keras_coda.layers import DAUConv2D, SumPooling2D
from keras_coda.linear_maps import Graph
from keras_coda.linear_maps.convolution import around, output_size
from keras_coda.linear_maps.views import view
from keras_coda.program import Program


class PatchDrops(Program):
    """The drops of the outputs when patches are covered, for `DAUConv2D` layers and a sum over positions.

    A layer's outputs change only where its kernel meets what has changed before: in a window, which grows from layer to
    layer. Only this window is computed. In the sum over all positions, its new sum replaces its old one. Results equal
    those of the whole network up to rounding.

    Args:
        layers: list of `DAUConv2D`, one after the other.
        pooling: the `SumPooling2D` after them.
        head: the `Graph` from the sums `(B, classes)` to the outputs.
    """

    def __init__(self, layers: list[DAUConv2D], pooling: SumPooling2D, head: Graph):
        super().__init__("patch_drops")
        own = {"padding": "valid", "data_format": "channels_last", "channel_axis": -1}
        self.convolutions = [view(layer, **own) for layer in layers]
        self.paddings = [layer.padding for layer in layers]
        self.sums_dtype = pooling.compute_dtype
        self.head = head
        # So that Keras knows their weights, and JAX does not take them for constants.
        self.head_layers = [layer for layer in head.operations if isinstance(layer, keras.Layer)]

    @classmethod
    def of(cls, classifier: Classifier) -> "PatchDrops | None":
        """Those of a classifier's model, or `None` where that is not a chain of such layers."""
        graph = Graph.of(classifier.model)
        before, head = graph.between(lambda step: type(step.operation) is SumPooling2D, graph.outputs)
        if len(head.inputs) != 1 or not before.steps:
            return None
        *steps, last = before.steps
        if steps and steps[0].operation is classifier.encoding:
            steps = steps[1:]
        chained = [*steps, last]
        is_chain = all(step.sources == [*previous.results] for previous, step in itertools.pairwise(chained))
        if not (steps and is_chain and type(last.operation) is SumPooling2D):
            return None
        layers = [step.operation for step in steps]
        if not all(type(layer) is DAUConv2D and "call" not in vars(layer) for layer in layers):
            return None
        if any(step.operation.data_format != classifier.data_format for step in chained):
            return None
        return cls(layers, last.operation, head)

    def drops(
        self,
        classifier: Classifier,
        source: np.ndarray,
        targets: np.ndarray,
        patch: int,
        starts: tuple[np.ndarray, np.ndarray],
        batch_size: int,
        baseline: ArrayLike = 0.0,
        verbose: int = 0,
    ) -> np.ndarray:
        """The drops for all patches.

        Args:
            classifier: the `Classifier`.
            source: array with N of its sources.
            targets: int32 `(N, K)`.
            patch: integer, height and width of the patches.
            starts: two integer arrays, the rows and the columns where patches start. All their pairs are covered.
            batch_size: integer, images that fit into memory. Batches hold as many windows as fit in their place.
            baseline: the value of covered pixels: a number, or an array that broadcasts to the shape of `source`.
            verbose: 1 shows a progress bar.

        Returns:
            `(N, rows, columns, K)`, float32.
        """
        images, covers = (classifier.encode(values) for values in (source, broadcast(baseline, source, classifier)))
        if classifier.data_format == "channels_first":
            images, covers = (np.moveaxis(values, 1, -1) for values in (images, covers))
        pairs = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2).astype("int32")
        together = min(batch_size * self._windows_an_image(images.shape[1:3], patch), len(pairs))
        patches = _Patches(images, covers, targets, patch, pairs, together)
        drops = self.predict(backend.input_pipeline(patches), verbose=verbose)
        drops = drops.reshape(len(source), -1, targets.shape[1])[:, : len(pairs)]
        return drops.reshape(len(source), len(starts[0]), len(starts[1]), -1)

    def call(self, inputs):
        """The drops `(B, K)` for patches of one image."""
        image, window = inputs["image"], inputs["patches"]
        starts = [inputs["starts"][:, 0], inputs["starts"][:, 1]]
        layers = self._axes(image.shape[1:3], window.shape[1])
        for convolution, axes in zip(self.convolutions, layers, strict=True):
            image = ops.pad(image, [(0, 0), *(axis.around for axis in axes), (0, 0)])
            window, _ = convolution.linear_map(_pasted(window, image, starts, axes))
            image, _ = convolution.linear_map(image)
            starts = [axis.first_output(start) for axis, start in zip(axes, starts, strict=True)]
        before = _cut(image, starts, window.shape[1:3])
        total, old, new = (ops.sum(ops.cast(x, self.sums_dtype), axis=(1, 2)) for x in (image, before, window))
        (output,), (covered,) = self.head.run([total]), self.head.run([total - old + new])
        drops = ops.cast(output, "float32") - ops.cast(covered, "float32")
        return ops.take_along_axis(drops, inputs["targets"], axis=-1)

    def pays(self, size: tuple[int, int], patch: int, batch_size: int) -> bool:
        """Whether windows save half of the work or more. Below, making them takes as long as they save.

        Several devices share a batch of images. Batches of windows have one image, so these are for one device.
        """
        if keras.distribution.distribution() is not None or backend.replicas() > 1:
            return False
        whole = windows = 0
        for convolution, (rows, columns) in zip(self.convolutions, self._axes(size, patch), strict=True):
            if rows.outputs < 1 or columns.outputs < 1:
                return False  # The model itself raises the error.
            work = math.prod(convolution.a_kernel.shape)
            whole += rows.outputs * columns.outputs * work
            windows += rows.seen * columns.seen * work
        together = batch_size * self._windows_an_image(size, patch)
        return together * whole >= 2 * (whole + together * windows)

    def _axes(self, size, patch):
        """The two axes of each layer, for images of `size` pixels."""
        size, changed, layers = list(size), [patch, patch], []
        for layer, padding in zip(self.convolutions, self.paddings, strict=True):
            settings = zip(size, layer.kernel_size, layer.strides, changed, strict=True)
            axes = [_Axis(pixels, kernel, stride, padding, width) for pixels, kernel, stride, width in settings]
            size, changed = [axis.outputs for axis in axes], [axis.seen for axis in axes]
            layers.append(axes)
        return layers

    def _windows_an_image(self, size, patch):
        """How many windows need the memory of one image. A layer's largest array has the patches under its kernel."""
        whole, window = [], []
        for convolution, (rows, columns) in zip(self.convolutions, self._axes(size, patch), strict=True):
            numbers = math.prod(convolution.b_kernel.shape[:-1])
            whole.append(rows.outputs * columns.outputs * numbers)
            window.append(rows.seen * columns.seen * numbers)
        return max(whole) // max(window)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis of a layer. Of its inputs, `changed` neighbours change, and so do `seen` neighbours of its outputs."""

    size: int
    kernel: int
    stride: int
    padding: str
    changed: int

    @property
    def outputs(self):
        return output_size(self.size, self.kernel, self.stride, self.padding)

    @property
    def seen(self):
        return min((self.changed + self.kernel - 2) // self.stride + 1, self.outputs)

    @property
    def around(self):
        """The zeros before and after the pixels."""
        return around(self.size, self.kernel, self.stride, self.padding)

    def first_output(self, start):
        """Where the window of outputs starts, `(B,)`, for one of inputs that starts at `start (B,)`."""
        first = (start + self.around[0] - self.kernel + self.stride) // self.stride
        return ops.clip(first, 0, self.outputs - self.seen)

    def inputs(self, start):
        """The padded pixels that the window of outputs sees, `(B, pixels)`, and their place in the window of inputs."""
        pixels = np.arange((self.seen - 1) * self.stride + self.kernel, dtype="int32")
        pixels = self.first_output(start)[:, np.newaxis] * self.stride + pixels
        return pixels, pixels - self.around[0] - start[:, np.newaxis]


class _Patches(keras.utils.PyDataset):
    """Batches of patches, each of one image. The last one of an image is padded, since JAX compiles for one size."""

    def __init__(self, images, covers, targets, patch, starts, together):
        super().__init__()
        self.images = images
        self.covers = covers
        self.targets = targets
        self.patch = patch
        self.starts = starts
        self.together = together
        self.batches = -(-len(starts) // together)

    def __len__(self):
        return len(self.images) * self.batches

    def __getitem__(self, index):
        image, batch = divmod(index, self.batches)
        numbers = np.minimum(batch * self.together + np.arange(self.together), len(self.starts) - 1)
        one, starts = slice(image, image + 1), self.starts[numbers]
        rows, columns = (starts[:, axis, np.newaxis] + np.arange(self.patch) for axis in (0, 1))
        # A patch may reach over the border. What lies there is padding.
        cover = np.pad(self.covers[image], [(0, self.patch), (0, self.patch), (0, 0)])
        inputs = {
            "image": self.images[one],
            "patches": cover[rows[:, :, np.newaxis], columns[:, np.newaxis, :]],
            "starts": starts,
            "targets": np.repeat(self.targets[one], self.together, axis=0),
        }
        return (inputs,)


def _cut(image, starts, size):
    """The windows of `size` pixels of `image (1, H, W, C)` at `starts`, two of `(B,)`: `(B, h, w, C)`."""
    rows, columns = (start[:, np.newaxis] + np.arange(n, dtype="int32") for start, n in zip(starts, size, strict=True))
    pixels = ops.reshape(image, (-1, image.shape[-1]))
    return ops.take(pixels, rows[:, :, np.newaxis] * image.shape[2] + columns[:, np.newaxis, :], axis=0)


def _pasted(windows, image, starts, axes):
    """The inputs of the layer's window: `image (1, H, W, C)`, padded, with `windows (B, h, w, C)` at `starts`."""
    (rows, in_rows), (columns, in_columns) = (axis.inputs(start) for axis, start in zip(axes, starts, strict=True))
    height, width, channels = windows.shape[1:]
    covered = [(place >= 0) & (place < size) for place, size in ((in_rows, height), (in_columns, width))]
    covered = covered[0][:, :, np.newaxis] & covered[1][:, np.newaxis, :]
    number = ops.arange(ops.shape(windows)[0], dtype="int32")[:, np.newaxis, np.newaxis]
    pasted = (number * height + in_rows[:, :, np.newaxis]) * width + in_columns[:, np.newaxis, :]
    pixels = rows[:, :, np.newaxis] * image.shape[2] + columns[:, np.newaxis, :]
    both = ops.concatenate([ops.reshape(values, (-1, channels)) for values in (image, windows)], axis=0)
    return ops.take(both, ops.where(covered, image.shape[1] * image.shape[2] + pasted, pixels), axis=0)
