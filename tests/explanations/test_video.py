"""Explained videos: as many frames as the input has, on one scale, written whole or not at all."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image, ImageSequence
from small_models import CLASSES, IMAGE_SHAPE, small_coda_net

import keras_coda
from keras_coda import plots, videos
from keras_coda.explanations import explain_video
from keras_coda.images import read_image

pytestmark = pytest.mark.one_backend

COUNT = 3
HAS_FFMPEG = importlib.util.find_spec("imageio") and importlib.util.find_spec("imageio_ffmpeg")
needs_ffmpeg = pytest.mark.skipif(not HAS_FFMPEG, reason="needs the extra `video`")


@pytest.fixture(scope="module")
def model():
    return small_coda_net(seed=0)


@pytest.fixture
def pixels(rng):
    """Frames of growing contrast: on scales of their own they would all look equally strong."""
    contrast = np.linspace(0.1, 1, COUNT)[:, None, None, None]
    return (255 * contrast * rng.random((COUNT, *IMAGE_SHAPE))).astype("uint8")


@pytest.fixture
def folder(pixels, tmp_path):
    """The frames as files, of which the last was written first, and files that are no frames."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in reversed(range(COUNT)):
        Image.fromarray(pixels[number]).save(folder / f"frame_{number:02}.png")
    (folder / "notes.txt").write_text("no frame")
    (folder / ".hidden.png").write_text("no frame")
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """What is given to be drawn: images, explanations, and scales with the classes' names."""
    calls = []
    gallery = plots.plot_explanation_gallery

    def record(images, explanation, classes, **settings):
        calls.append((images, explanation, {**settings, "classes": classes}))
        return gallery(images, explanation, classes, **settings)

    monkeypatch.setattr(plots, "plot_explanation_gallery", record)
    return calls


def frames(path):
    with Image.open(path) as file:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


def left(path):
    """What is in the folder of `path`, but for the frames."""
    return sorted(p.name for p in path.parent.iterdir() if p.name != "frames")


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_every_frame_of_a_folder_is_drawn_in_order_on_one_scale(model, folder, pixels, tmp_path, drawn, suffix):
    path = tmp_path / f"out{suffix}"
    assert explain_video(model, folder, path, batch_size=2) == COUNT
    written = frames(path)
    assert len(written) == COUNT
    assert all(np.ptp(frame.astype(int), axis=(0, 1)).max() > 100 for frame in written)
    assert left(path) == [path.name]

    expected = model.explain(pixels)
    limits = [np.percentile(np.abs(m), 99.5) for m in expected.contribution_map]
    norms = np.linalg.norm(np.maximum(expected.weights, 0), axis=-1)
    weight_limits = [np.percentile(n, 99.5) for n in norms]
    assert len(drawn) == COUNT
    for number, (image, explanation, settings) in enumerate(drawn):
        np.testing.assert_allclose(image, pixels[number : number + 1] / 255, atol=1e-6)
        np.testing.assert_allclose(
            explanation.contribution_map, expected.contribution_map[number : number + 1], rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(settings["limit"], max(limits), rtol=1e-3)
        np.testing.assert_allclose(settings["weight_limit"], max(weight_limits), rtol=1e-3)
    assert max(limits) > 1.05 * min(limits)


@pytest.mark.parametrize("target", [None, 2])
def test_the_predicted_class_is_explained_or_a_fixed_one(model, folder, pixels, tmp_path, drawn, target):
    names = [f"class of number {number}" for number in range(CLASSES)]
    explain_video(model, folder, tmp_path / "out.gif", target=target, classes=names)
    assert all(settings["classes"] == names for *_, settings in drawn)
    found = [explanation.targets[0] for _, explanation, _ in drawn]
    expected = model.predict(pixels / np.float32(255), verbose=0).argmax(-1) if target is None else [target] * COUNT
    np.testing.assert_array_equal(found, expected)


def test_an_animation_is_read_with_its_speed(model, folder, tmp_path):
    animation, path = tmp_path / "in.gif", tmp_path / "out.webp"
    assert explain_video(model, folder, animation, frames_a_second=4) == COUNT
    assert explain_video(model, animation, path, image_shape=IMAGE_SHAPE) == COUNT
    with Image.open(path) as file:
        assert file.n_frames == COUNT
        file.load()
        assert file.info["duration"] == 250
    # As fast on the whole where frames last longer than others.
    with Image.open(animation) as file:
        images = [frame.copy() for frame in ImageSequence.Iterator(file)]
    images[0].save(animation, save_all=True, append_images=images[1:], duration=[100, 300, 500])
    explain_video(model, animation, path, image_shape=IMAGE_SHAPE)
    with Image.open(path) as file:
        file.load()
        assert file.info["duration"] == 300


def test_frames_are_read_as_images_are(model, pixels, tmp_path, drawn):
    """Transparent, with 16 bits, turned by EXIF data, and of a format that Pillow alone reads."""
    orientation = Image.Exif()
    orientation[0x0112] = 6
    image, other = (Image.fromarray(frame) for frame in pixels[:2])
    clear = [frame.convert("RGBA") for frame in (image, other)]
    for frame in clear:
        frame.putalpha(Image.linear_gradient("L").resize(frame.size))
    deep = [Image.fromarray(frame[..., 0].astype("uint16") * 200) for frame in pixels[:2]]
    (tmp_path / "folder").mkdir()
    image.save(tmp_path / "folder" / "0.gif")
    clear[0].save(tmp_path / "clear.webp", save_all=True, append_images=clear[1:], lossless=True)
    deep[0].save(tmp_path / "deep.tif", save_all=True, append_images=deep[1:])
    image.save(tmp_path / "turned.png", exif=orientation)
    for name, count in (("clear.webp", 2), ("deep.tif", 2), ("turned.png", 1), ("folder", 1)):
        drawn.clear()
        path = tmp_path / name
        assert explain_video(model, path, tmp_path / "out.webp", image_shape=IMAGE_SHAPE) == count
        first = read_image(path / "0.gif" if path.is_dir() else path, IMAGE_SHAPE)
        np.testing.assert_array_equal(drawn[0][0][0], first)
    Image.fromarray(pixels[0, ..., 0].astype("float32")).save(tmp_path / "floats.tif")
    with pytest.raises(ValueError, match=r"floats\.tif cannot be read\. Expected 8 or 16 bits"):
        explain_video(model, tmp_path / "floats.tif", tmp_path / "out.webp", image_shape=IMAGE_SHAPE)


def test_the_image_of_a_png_animation_that_is_none_of_its_frames_is_left_out(pixels, tmp_path):
    path, images = tmp_path / "in.png", [Image.fromarray(frame) for frame in pixels]
    for default_image, want in ((False, pixels), (True, pixels[1:])):
        durations = [100] * len(want)
        images[0].save(path, save_all=True, append_images=images[1:], duration=durations, default_image=default_image)
        np.testing.assert_array_equal([*videos.frames_of(path, IMAGE_SHAPE, "channels_last")], want / np.float32(255))
        assert videos.frames_a_second_of(path) == 10


@pytest.mark.parametrize(
    ("name", "speed", "durations"),
    [
        ("out.gif", 30, [30, 40, 30]),
        ("out.gif", 50, [20, 20, 20]),
        ("out.gif", 60, [30, 40]),  # every second frame
        ("out.webp", 60, [17, 16, 17]),
    ],
)
def test_an_animation_has_the_speed_that_was_asked_for(model, folder, tmp_path, drawn, name, speed, durations):
    path = tmp_path / name
    assert explain_video(model, folder, path, frames_a_second=speed) == len(durations) == len(drawn)
    with Image.open(path) as file:
        found = [(frame.load(), frame.info["duration"])[1] for frame in ImageSequence.Iterator(file)]
    assert found == durations


def test_a_black_frame_does_not_change_the_scale(pixels, tmp_path, drawn):
    """Without the negative image, its contributions are all zero."""
    model = small_coda_net(add_negative=False, logit_bias=0.0)
    frames = [Image.fromarray(frame) for frame in (pixels[0], 0 * pixels[0], pixels[2])]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    explain_video(model, tmp_path / "in.webp", tmp_path / "out.gif")
    maps = [explanation.contribution_map[0] for _, explanation, _ in drawn]
    assert not maps[1].any()
    want = max(np.percentile(np.abs(m), 99.5) for m in maps)
    assert want < 0.9  # and so is not that of a map of zeros
    assert all(settings["limit"] == pytest.approx(want) for _, _, settings in drawn)
    frames[1].save(tmp_path / "black.png")
    assert explain_video(model, tmp_path / "black.png", tmp_path / "out.gif") == 1


def test_a_model_with_channels_first_sees_the_same_frames(folder, tmp_path, drawn):
    shape = (IMAGE_SHAPE[2], *IMAGE_SHAPE[:2])
    model = keras_coda.CoDANet(
        [CLASSES], [1], [2], [1], 1.0, image_shape=shape, data_format="channels_first", add_negative=False
    )
    assert explain_video(model, folder, tmp_path / "out.gif") == COUNT
    assert all(image.shape == (1, *shape) for image, _, _ in drawn)


def test_a_nested_model_with_channels_first_sees_the_same_frames(folder, tmp_path, drawn):
    shape = (IMAGE_SHAPE[2], *IMAGE_SHAPE[:2])
    inner = keras_coda.CoDANet([CLASSES], [1], [2], [1], 1.0, image_shape=shape, data_format="channels_first")
    model = keras.Sequential([keras.Input(shape), keras.Sequential([inner])])
    assert explain_video(model, folder, tmp_path / "out.gif") == COUNT
    assert all(image.shape == (1, *shape) for image, _, _ in drawn)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", videos.VIDEOS)
def test_videos_are_written_and_read(model, folder, tmp_path, suffix):
    import imageio.v3 as iio

    video, animation = tmp_path / f"out{suffix}", tmp_path / "again.gif"
    assert explain_video(model, folder, video, frames_a_second=5) == COUNT
    read = iio.imread(video, plugin="FFMPEG")
    assert read.shape[0] == COUNT
    assert iio.immeta(video, plugin="FFMPEG")["fps"] == 5
    gif = tmp_path / "out.gif"
    explain_video(model, folder, gif)
    for frame, expected in zip(read, frames(gif), strict=True):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 6
    assert explain_video(model, video, animation, image_shape=IMAGE_SHAPE) == COUNT
    assert left(video) == sorted(["again.gif", "out.gif", video.name])


@needs_ffmpeg
def test_a_video_of_variable_rate_lasts_as_long(tmp_path):
    """Ten grey frames a tenth of a second apart, and then ten half a second apart: 5.5 s to the last one's start."""
    import imageio_ffmpeg

    video, times = tmp_path / "in.mp4", "setpts='if(lt(N,10),N*0.1,1+(N-10)*0.5)/TB'"
    source = ["-f", "lavfi", "-i", "color=gray:size=16x16:rate=10", "-frames:v", "20", "-vf", times]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-fps_mode", "vfr", str(video)]
    subprocess.run(command, check=True)
    count = len([*videos.frames_of(video, (None, None, 3), "channels_last")])
    assert count / videos.frames_a_second_of(video) == pytest.approx(5.5, abs=0.8)


@needs_ffmpeg
def test_a_video_that_ffmpeg_cannot_write_is_an_error(model, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(videos.WEBM, "codec", "libx264")  # which WebM does not take
    path = tmp_path / "out.webm"
    path.write_bytes(b"former")
    with pytest.raises(OSError, match=r"out\.webm cannot be written"):
        explain_video(model, folder / "frame_00.png", path)
    assert path.read_bytes() == b"former"
    assert left(path) == ["out.webm"]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["out.mp4", "12:30.webm"])
def test_what_a_killed_process_has_left_of_a_video_is_removed_by_the_next(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path, black, seen = pathlib.Path(name), np.zeros((16, 16, 3), "uint8"), []

    def frames():
        for _ in range(COUNT):
            seen.extend(os.listdir())
            yield black

    videos.writer_of(path)(path, frames(), 10)
    assert set(seen) != {path.name}
    for incomplete in set(seen):
        pathlib.Path(incomplete).touch()
        os.utime(incomplete, (0, 0))
    videos.writer_of(path)(path, [black] * COUNT, 10)
    assert os.listdir() == [path.name]


@needs_ffmpeg
def test_what_is_no_video_is_an_error(model, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be read as a video"):
        explain_video(model, text, tmp_path / "out.gif", image_shape=IMAGE_SHAPE)
    assert left(text) == ["text.mp4"]


def test_without_the_extra_it_is_named(model, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"out\.mp4 can only be written with .*keras-coda\[video\]"):
        explain_video(model, folder, tmp_path / "out.mp4")
    video = tmp_path / "in.mp4"
    video.write_bytes(b"video")
    with pytest.raises(ImportError, match=r"in\.mp4 can only be read with .*keras-coda\[video\]"):
        explain_video(model, video, tmp_path / "out.gif")


def test_wrong_input_is_an_error_and_leaves_nothing(model, folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out" / "out.gif"
    with pytest.raises(ValueError, match=r"empty has no frames"):
        explain_video(model, empty, out)
    with pytest.raises(ValueError, match=r"must end in one of .*Received: .*out\.txt"):
        explain_video(model, folder, out.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"frames_a_second.*Received: 0"):
        explain_video(model, folder, out, frames_a_second=0)
    with pytest.raises(ValueError, match=r"frames_a_second.*Received: 0\.001"):
        explain_video(model, folder, out, frames_a_second=0.001)
    with pytest.raises(ValueError, match=r"`batch_size` must be a positive integer"):
        explain_video(model, folder, out, batch_size=0)
    with pytest.raises(ValueError, match=r"takes inputs of shape \(5, 6, 3\). Received: shape \(5, 6\)"):
        explain_video(model, folder, out, image_shape=(5, 6))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, size in enumerate([(8, 8), (8, 9)]):
        Image.new("RGB", size).save(mixed / f"{number}.png")
    with pytest.raises(ValueError, match=r"frames of one size, or `image_shape`"):
        explain_video(small_coda_net(image_shape=(None, None, 3)), mixed, out)
    with pytest.raises(ValueError, match=r"`target` is out of range"):
        explain_video(model, folder, out, target=CLASSES)
    with pytest.raises(FileNotFoundError):
        explain_video(model, tmp_path / "missing.mp4", out)
    assert not out.parent.exists()


def test_wrong_input_is_an_error_before_anything_is_explained(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_coda.explanations.video.explain", None)
    with pytest.raises(ValueError, match=rf"`classes` must be {CLASSES} names. Received: 1 names"):
        explain_video(model, folder, tmp_path / "out.gif", classes=["a"])
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"q\.gif cannot be written: .*file is not a folder"):
        explain_video(model, folder, tmp_path / "file" / "new" / "q.gif")
    inputs = [keras.Input(IMAGE_SHAPE), keras.Input(IMAGE_SHAPE)]
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Add()(inputs)))
    with pytest.raises(ValueError, match=r"Expected a model of one image\. Received: .*, of 2 inputs"):
        explain_video(keras.Model(inputs, outputs), folder, tmp_path / "out.gif")


def test_a_run_that_fails_on_the_way_leaves_what_was_there(model, folder, tmp_path, monkeypatch):
    path = tmp_path / "out.gif"
    path.write_bytes(b"former")
    calls = []
    gallery = plots.plot_explanation_gallery

    def fail_on_the_second(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return gallery(*args, **kwargs)

    monkeypatch.setattr(plots, "plot_explanation_gallery", fail_on_the_second)
    with pytest.raises(KeyboardInterrupt):
        explain_video(model, folder, path)
    assert path.read_bytes() == b"former"
    assert left(path) == ["out.gif"]


def test_models_that_scale_frames_themselves_get_them_in_0_to_255(folder, pixels, tmp_path, drawn):
    scaled = keras.Sequential(
        [keras.Input(IMAGE_SHAPE), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    integers = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE, dtype="uint8"),
            keras_coda.layers.InputEncoding("channels_last"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    for model in (scaled, integers):
        drawn.clear()
        explain_video(model, folder, tmp_path / "out.gif")
        logits = np.concatenate([explanation.logits for _, explanation, _ in drawn])
        np.testing.assert_allclose(logits, model.predict(pixels, verbose=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(drawn[0][0], pixels[:1] / 255, atol=1e-6)


def test_other_models_of_the_unit_range_get_frames_in_it(folder, pixels, tmp_path, drawn):
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    explain_video(model, folder, tmp_path / "out.gif", unit_range=True)
    logits = np.concatenate([explanation.logits for _, explanation, _ in drawn])
    want = model.predict(pixels / np.float32(255), verbose=0)
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)


def test_augmentation_before_the_encoding_changes_nothing(folder, pixels, tmp_path, drawn):
    steps = [keras_coda.layers.InputEncoding("channels_last"), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.RandomFlip(), *steps])
    explain_video(model, folder, tmp_path / "out.gif")
    want = model.predict(pixels[:1] / np.float32(255), verbose=0)
    np.testing.assert_allclose(drawn[0][1].logits, want, rtol=1e-4, atol=1e-5)


def test_a_hybrid_is_refused_before_it_is_explained(folder, tmp_path, monkeypatch):
    stem = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.Conv2D(3, 3, name="cut")])
    model = keras_coda.models.hybrid(stem, "cut", [2], [1], [2])
    monkeypatch.setattr("keras_coda.explanations.video.explain", None)
    with pytest.raises(ValueError, match=r"pixels of the image contribute, .*'hybrid', .* \[\(3, 4, 3\)\] contribute"):
        explain_video(model, folder, tmp_path / "out.gif")
