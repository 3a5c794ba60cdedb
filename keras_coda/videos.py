"""Videos and animations as frames: how they are read, and written."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from keras_coda.files import written_whole
from keras_coda.images import image_files, open_image, read_frame, read_image, to_pixels

# Pillow writes these. The numbers are milliseconds: durations of frames are multiples of them.
ANIMATIONS = {".gif": 10, ".webp": 1}
# FFmpeg writes these, in its formats.
VIDEOS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm", ".avi": "avi"}
# WebM does not take H.264, in which the others are written.
WEBM: dict[str, Any] = {"codec": "libvpx-vp9", "quality": None, "output_params": ["-crf", "20", "-b:v", "0"]}
FRAMES_A_SECOND = 10


def frames_of(video: pathlib.Path, image_shape: Sequence[int | None], data_format: str) -> Iterator[np.ndarray]:
    """The frames of a video, an animation or a folder of images, in the form that a model takes."""
    if video.is_dir():
        for path in image_files(video):
            yield read_image(path, image_shape, data_format)
    elif _is_animation(video):
        with open_image(video) as file:
            for frame in _frames(file):
                yield read_frame(frame, image_shape, data_format)
    else:
        # Without a rate FFmpeg repeats frames of a video of variable rate, as of a phone, so that it lasts longer.
        for frame in _read(video, "imiter", fps=frames_a_second_of(video)):
            yield to_pixels(Image.fromarray(frame), image_shape, data_format)


def frames_a_second_of(video: pathlib.Path) -> float:
    """The number of frames a second of a video or an animation; 10 for a folder."""
    if video.is_dir():
        return FRAMES_A_SECOND
    if _is_animation(video):
        with open_image(video) as file:
            # A WebP file's duration is known only after its frame is read.
            durations = [(frame.load(), frame.info.get("duration", 0))[1] for frame in _frames(file)]
        return 1000 / np.mean(durations) if any(durations) else FRAMES_A_SECOND
    return next(_read(video, "immeta"))["fps"] or FRAMES_A_SECOND


def _frames(file):
    """The frames of an opened animation. A PNG file may have an image before them, for programs that show only one."""
    return itertools.islice(ImageSequence.Iterator(file), int("default_image" in file.info), None)


def _is_animation(video):
    try:
        with open_image(video):
            return True
    except ValueError:
        return False


def _read(video, what, **settings):
    """Generator of what `imageio` reads from a video: its frames ("imiter"), or its metadata ("immeta")."""
    imageio = _imageio(video, "read")
    try:
        result = getattr(imageio.v3, what)(video, plugin="FFMPEG", **settings)
        yield from result if what == "imiter" else [result]
    except (OSError, RuntimeError, StopIteration) as error:
        reason = (str(error).strip().splitlines() or ["FFmpeg reads no frame of it"])[-1]
        raise ValueError(f"{video} cannot be read as a video: {reason}") from error


def writer_of(path: pathlib.Path) -> Callable:
    """The function of a path, frames and their number a second that writes files with this suffix."""
    suffix = path.suffix.lower()
    if suffix in ANIMATIONS:
        return write_animation
    if suffix not in VIDEOS:
        raise ValueError(f"A video's name must end in one of {', '.join([*ANIMATIONS, *VIDEOS])}. Received: {path}")
    _imageio(path, "written")
    return _write_video


def write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], frames_a_second: float) -> None:
    """Write frames, uint8 arrays `(H, W, 3)`, to a GIF or WebP file that plays in a loop, as a whole or not at all."""
    suffix = path.suffix.lower()
    units_a_frame = 1000 / frames_a_second / ANIMATIONS[suffix]
    # Pillow takes a frame before it looks up its duration.
    durations: list[int] = []

    def images():
        for number, frame in enumerate(frames):
            # So that the sum of the durations is right.
            units = round((number + 1) * units_a_frame) - round(number * units_a_frame)
            durations.append(units * ANIMATIONS[suffix])
            yield Image.fromarray(frame)

    taken = images()
    settings: dict[str, Any] = {"save_all": True, "append_images": taken, "duration": durations, "loop": 0}
    with written_whole(path, binary=True) as file:
        next(taken).save(file, format=suffix[1:], quality=90, **settings)


def _write_video(path, frames, frames_a_second):
    import imageio_ffmpeg

    suffix = path.suffix.lower()
    settings: dict[str, Any] = {"fps": frames_a_second, "macro_block_size": 2}
    settings |= WEBM if suffix == ".webm" else {"quality": 8}
    settings["output_params"] = [*settings.get("output_params", []), "-f", VIDEOS[suffix]]
    frames, written = iter(frames), 0
    first = next(frames)
    with written_whole(path, binary=True) as file:
        # FFmpeg writes to the same file. Of a relative path it would take what is before a colon for a protocol.
        partial = os.path.abspath(file.name)
        with contextlib.closing(imageio_ffmpeg.write_frames(partial, first.shape[1::-1], **settings)) as encoder:
            encoder.send(None)
            for frame in itertools.chain([first], frames):
                encoder.send(frame)
                written += 1
        if _count(partial) < written:
            raise OSError(f"{path} cannot be written: FFmpeg failed, as on a full disk")


def _count(video):
    """The number of frames in a video. Read again, since FFmpeg's writer does not say whether it failed at the end."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.count_frames_and_secs(video)[0]
    except RuntimeError:
        return 0


def _imageio(path, done):
    try:
        import imageio.v3
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path} can only be {done} with imageio and FFmpeg, which are not installed: "
            'pip install "keras-coda[video]". Without them there are GIF, WebP and folders of images.'
        ) from error
    return imageio
