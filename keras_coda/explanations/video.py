"""Explanations of videos: each frame beside its weights and contributions, all on the same scale."""

import itertools
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_coda import plots
from keras_coda.backend.conventions import probe
from keras_coda.checks import check_positive, check_shape
from keras_coda.explanations.explainer import Explainer, explain
from keras_coda.images import check_kept, image_files
from keras_coda.imports import Lazy
from keras_coda.linear_maps import Graph, layout
from keras_coda.videos import frames_a_second_of, frames_of, writer_of

backend_agg = Lazy("matplotlib.backends.backend_agg", "matplotlib")

# Browsers show faster ones at a tenth of the speed or less.
FASTEST_GIF = 50


def explain_video(
    model: keras.Model,
    video: str | os.PathLike,
    path: str | os.PathLike,
    *,
    target: int | None = None,
    classes: Sequence[str] | None = None,
    image_shape: Sequence[int | None] | None = None,
    unit_range: bool = False,
    frames_a_second: float | None = None,
    batch_size: int = 32,
    verbose: int = 0,
) -> int:
    """Explain a video frame by frame, and write a video of the frames beside their explanations.

    Each frame is drawn as the model sees it, beside its weights in colour and its contribution map (paper, Fig. 2). All
    frames share one colour scale, the largest of all frames, found in a first pass. Only one batch of frames is in
    memory at once, apart from a GIF or WebP file, which Pillow collects before it writes.

    Args:
        model: a CoDA-Net, or any model that `explain` takes, of images of one or three channels, of which the pixels
            contribute. Models that take integers get frames in 0..255. CoDA-Nets and models that begin with an
            `InputEncoding` get floats in [0, 1]. All others get 0..255, or floats in [0, 1] with `unit_range=True`.
        video: path of a video or animation, or of a folder of images, which are taken in the order of their names. They
            are read as `keras_coda.images.read_image` does.
        path: file to write: .gif or .webp, or, with the extra `video`, one of .mp4, .mkv, .mov, .webm and .avi.
            It is written completely or not at all. A GIF stores repeated frames as one longer frame.
        target: integer, the class to explain. Default: the one predicted for each frame.
        classes: list of the names of the classes. Default: their numbers.
        image_shape: shape of images without the batch axis. Frames are scaled to it, and cropped around the centre.
            Default: the shape that the model takes. A model that takes any size gets the frames in their own size.
        unit_range: set it for a model that takes floats in [0, 1], and is no CoDA-Net and does not begin with an
            `InputEncoding`. Models of presets take such floats.
        frames_a_second: number in 0.01..100. Default: that of the input, or 10 for a folder. A GIF has at most 50: from
            a faster video, only every second (third, ...) frame is explained, and the GIF has the video's speed.
        batch_size: frames explained at once.
        verbose: 1 shows a progress bar.

    Returns:
        The number of explained frames.

    Raises:
        ValueError: the input has no frames or cannot be read as a video; the output has another format, or would
            overwrite the input; the target or the classes do not fit the model; the model takes several inputs; other
            things than pixels contribute, as in a hybrid.
        ImportError: Matplotlib is not installed, or a video is read or written without the extra `video`.
        OSError: a file cannot be read or written.

    Example:

    >>> keras_coda.explanations.explain_video(model, "goldfinch.mp4", "explained.mp4", target=11)  # doctest: +SKIP
    """
    video, path = pathlib.Path(video), pathlib.Path(path)
    write = writer_of(path)
    _ = backend_agg.FigureCanvasAgg  # Without Matplotlib this raises its error before any frame is explained.
    check_kept(image_files(video) if video.is_dir() else [video], [path])
    existing = next(folder for folder in path.parents if folder.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {existing} is not a folder")
    if frames_a_second is None:
        frames_a_second = frames_a_second_of(video)
    elif not 0.01 <= frames_a_second <= 100:
        raise ValueError(f"`frames_a_second` must be a number in 0.01..100. Received: {frames_a_second!r}")
    step = math.ceil(frames_a_second / FASTEST_GIF) if path.suffix.lower() == ".gif" else 1
    check_positive(batch_size=batch_size)
    graph = Graph.of(model)
    if len(graph.inputs) != 1:
        raise ValueError(f"Expected a model of one image. Received: {model.name!r}, of {len(graph.inputs)} inputs")
    data_format = layout.data_format(graph, graph.inputs[0])
    image_shape = model.input_shape[1:] if image_shape is None else tuple(image_shape)
    check_shape(model.name, model.input_shape[1:], image_shape)
    explainer = Explainer(model)
    if classes is not None and len(classes) != model.output_shape[-1]:
        raise ValueError(f"`classes` must be {model.output_shape[-1]} names. Received: {len(classes)} names")
    _check_sources(explainer, image_shape, data_format)
    unit_range = unit_range or explainer.takes_unit_range
    as_integers = keras.backend.is_int_dtype(model.inputs[0].dtype) or not unit_range

    def explained():
        frames = itertools.islice(frames_of(video, image_shape, data_format), 0, None, step)
        for images in _batches(frames, batch_size):
            taken = np.round(255 * images).astype("uint8") if as_integers else images
            yield images, explain(model, taken, target, batch_size=batch_size)

    count, limit, weight_limit = 0, 0.0, 0.0
    progress = keras.utils.Progbar(None, verbose=verbose, unit_name="frame explained")
    for images, explanation in explained():
        # A map of zeros has no scale: that of a black frame whose negative is not encoded.
        limit = max([limit, *(plots.contribution_limit(m) for m in explanation.contribution_map if m.any())])
        weight_limit = max(weight_limit, *plots.weights_limit(explanation.weights, data_format))
        count += len(images)
        progress.update(count)
    if not count:
        raise ValueError(f"{video} has no frames. Expected: a video, or a folder of images")

    def drawn():
        settings: dict[str, Any] = {"limit": limit or 1.0, "weight_limit": weight_limit, "data_format": data_format}
        progress = keras.utils.Progbar(count, verbose=verbose, unit_name="frame drawn")
        for images, explanation in explained():
            for i in range(len(images)):
                yield _pixels(plots.plot_explanation_gallery(images[i : i + 1], explanation[i], classes, **settings))
                progress.add(1)

    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, drawn(), frames_a_second / step)
    return count


def _check_sources(explainer, image_shape, data_format):
    """Raise an error where contributions are not of one image of the frame's size, as in a hybrid."""
    shape = (1, *probe(image_shape))
    axes, channels = explainer.channel_axes, 1 if data_format == "channels_first" else 3
    sources = explainer.source_specs([keras.KerasTensor(shape, explainer.model.inputs[0].dtype)])
    found = [tuple(source.shape) for source in sources]
    sizes = [(*s[:axis], *s[axis + 1 :]) for s, axis in zip(found, axes, strict=True)]
    if sizes != [(*shape[:channels], *shape[channels + 1 :])] or found[0][axes[0]] not in (1, 2, 3, 6):
        raise ValueError(
            "Expected a model in which the pixels of the image contribute, as colours or encoded. Received: model "
            f"{explainer.model.name!r}, in which tensors of shape {[s[1:] for s in found]} contribute for images of "
            f"shape {shape[1:]}"
        )


def _batches(frames, size):
    shape = None
    while batch := list(itertools.islice(frames, size)):
        for frame in batch:
            shape = frame.shape if shape is None else shape
            if frame.shape != shape:
                raise ValueError(
                    f"Expected frames of one size, or `image_shape` to which they are scaled. Received: {shape} and "
                    f"{frame.shape}"
                )
        yield np.stack(batch)


def _pixels(figure):
    """The pixels of a figure, uint8 `(H, W, 3)`, with even height and width, which most video formats need."""
    canvas = backend_agg.FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    height, width = (size // 2 * 2 for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])
