"""Explanations of videos: each frame beside its weights and contributions, all on the same scale."""

import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from PIL import Image, ImageSequence

from keras_coda import plots
from keras_coda.backend.conventions import check_shape, probe
from keras_coda.explanations.explainer import Explainer, explain, spec_of
from keras_coda.images import check_kept, open_image, read_image, to_pixels
from keras_coda.imports import Lazy
from keras_coda.linear_maps import Graph, layout

backend_agg = Lazy("matplotlib.backends.backend_agg", "matplotlib")

# Written by Pillow; all others by FFmpeg.
ANIMATIONS: dict[str, dict[str, Any]] = {".gif": {}, ".webp": {"quality": 90}}
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
FRAMES_A_SECOND = 10


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
        video: path of a video or animation, or of a folder of images, which are taken in the order of their names.
        path: file to write: .gif or .webp, or, with the extra `video`, one of .mp4, .mkv, .mov, .webm and .avi.
            It is written completely or not at all. A GIF stores repeated frames as one longer frame.
        target: integer, the class to explain. Default: the one predicted for each frame.
        classes: list of the names of the classes. Default: their numbers.
        image_shape: shape of images without the batch axis. Frames are scaled to it, and cropped around the centre.
            Default: the shape that the model takes. A model that takes any size gets the frames in their own size.
        unit_range: set it for a model that takes floats in [0, 1], and is no CoDA-Net and does not begin with an
            `InputEncoding`. Models of presets take such floats.
        frames_a_second: number in 0.01..100. Default: that of the input, or 10 for a folder.
        batch_size: frames explained at once.
        verbose: 1 shows a progress bar.

    Returns:
        The number of frames.

    Raises:
        ValueError: the input has no frames or cannot be read as a video; the output has another format, or would
            overwrite the input; the target or the classes do not fit the model; other things than pixels contribute, as
            in a hybrid.
        ImportError: a video is read or written without the extra `video`.
        OSError: a file cannot be read or written.

    Example:

    >>> keras_coda.explanations.explain_video(model, "goldfinch.mp4", "explained.mp4", target=11)  # doctest: +SKIP
    """
    video, path = pathlib.Path(video), pathlib.Path(path)
    write = _writer(path)
    check_kept(_images(video) if video.is_dir() else [video], [path])
    if frames_a_second is None:
        frames_a_second = _frames_a_second(video)
    elif not 0.01 <= frames_a_second <= 100:
        raise ValueError(f"`frames_a_second` must be a number in 0.01..100. Received: {frames_a_second!r}")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
    graph = Graph.of(model)
    data_format = layout.data_format(graph, graph.inputs[0])
    image_shape = model.input_shape[1:] if image_shape is None else tuple(image_shape)
    check_shape(model.name, model.input_shape[1:], image_shape)
    explainer = Explainer(model)
    _check_sources(explainer, image_shape, data_format)
    unit_range = unit_range or explainer._takes_unit_range
    as_integers = keras.backend.is_int_dtype(model.inputs[0].dtype) or not unit_range

    def explained():
        for images in _batches(_frames(video, image_shape, data_format), batch_size):
            taken = np.round(255 * images).astype("uint8") if as_integers else images
            yield images, explain(model, taken, target, batch_size=batch_size)

    count, limit, weight_limit = 0, 0.0, 0.0
    progress = keras.utils.Progbar(None, verbose=verbose, unit_name="frame explained")
    for images, explanation in explained():
        limit = max(limit, *map(plots.contribution_limit, explanation.contribution_map))
        weight_limit = max(weight_limit, *plots.weights_limit(explanation.weights, data_format))
        count += len(images)
        progress.update(count)
    if not count:
        raise ValueError(f"{video} has no frames. Expected: a video, or a folder of images {', '.join(IMAGES)}")

    def drawn():
        settings: dict[str, Any] = {"limit": limit, "weight_limit": weight_limit, "data_format": data_format}
        progress = keras.utils.Progbar(count, verbose=verbose, unit_name="frame drawn")
        for images, explanation in explained():
            for i in range(len(images)):
                yield _pixels(plots.plot_explanation_gallery(images[i : i + 1], explanation[i], classes, **settings))
                progress.add(1)

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(partial, drawn(), frames_a_second)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _check_sources(explainer, image_shape, data_format):
    """Raise an error where contributions are not of one image of the frame's size, as in a hybrid."""
    shape = (1, *probe(image_shape))
    parts, channels = explainer._parts, 1 if data_format == "channels_first" else 3
    sources = parts.before.run([keras.KerasTensor(shape, explainer.model.inputs[0].dtype)], spec_of)
    found = [tuple(source.shape) for source in sources]
    sizes = [(*s[:axis], *s[axis + 1 :]) for s, axis in zip(found, parts.channels, strict=True)]
    if sizes != [(*shape[:channels], *shape[channels + 1 :])] or found[0][parts.channels[0]] not in (1, 2, 3, 6):
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


# Input


def _frames(video, image_shape, data_format):
    """Generator of the frames, in the form that a model takes."""
    if video.is_dir():
        for path in _images(video):
            yield read_image(path, image_shape, data_format)
    elif _is_animation(video):
        with open_image(video) as file:
            for frame in ImageSequence.Iterator(file):
                yield to_pixels(frame, image_shape, data_format)
    else:
        for frame in _read(video, "imiter"):
            yield to_pixels(Image.fromarray(frame), image_shape, data_format)


def _frames_a_second(video):
    if video.is_dir():
        return FRAMES_A_SECOND
    if _is_animation(video):
        with open_image(video) as file:
            # A WebP file's duration is known only after its frame is read.
            durations = [(frame.load(), frame.info.get("duration", 0))[1] for frame in ImageSequence.Iterator(file)]
        return 1000 / np.mean(durations) if any(durations) else FRAMES_A_SECOND
    return next(_read(video, "immeta"))["fps"]


def _images(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.name[0] != ".")


def _is_animation(video):
    try:
        with open_image(video):
            return True
    except ValueError:
        return False


def _read(video, what):
    """Generator of what `imageio` reads from a video: its frames ("imiter"), or its metadata ("immeta")."""
    imageio = _imageio(video, "read")
    try:
        result = getattr(imageio.v3, what)(video, plugin="FFMPEG")
        yield from result if what == "imiter" else [result]
    except (OSError, RuntimeError, StopIteration) as error:
        reason = (str(error).strip().splitlines() or ["FFmpeg reads no frame of it"])[-1]
        raise ValueError(f"{video} cannot be read as a video: {reason}") from error


# Output


def _writer(path):
    suffix = path.suffix.lower()
    if suffix in ANIMATIONS:
        return write_animation
    if suffix not in VIDEOS:
        raise ValueError(f"A video's name must end in one of {', '.join([*ANIMATIONS, *VIDEOS])}. Received: {path}")
    _imageio(path, "written")
    return _write_video


def write_animation(path, frames, frames_a_second):
    """Write frames, uint8 arrays `(H, W, 3)`, to a GIF or WebP file that plays in a loop."""
    images = map(Image.fromarray, frames)
    settings = ANIMATIONS[path.suffix.lower()]
    duration = round(1000 / frames_a_second)
    next(images).save(path, save_all=True, append_images=images, duration=duration, loop=0, **settings)


def _write_video(path, frames, frames_a_second):
    settings = {"fps": frames_a_second, "quality": 8, "macro_block_size": 2}
    with _imageio(path, "written").v2.get_writer(path, format="FFMPEG", **settings) as writer:
        for frame in frames:
            writer.append_data(frame)


def _imageio(path, done):
    try:
        import imageio.v2
        import imageio.v3
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path} can only be {done} with imageio and FFmpeg, which are not installed: "
            'pip install "keras-coda[video]". Without them there are GIF, WebP and folders of images.'
        ) from error
    return imageio
