"""The command line, as a user types it."""

import contextlib
import dataclasses
import gc
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import keras_coda
from keras_coda import attributions, cli, data, explanations, exporting, metrics, presets, recipes, reports, training
from keras_coda._keras_backend import BACKENDS
from keras_coda.commands import demo
from keras_coda.images import read_image
from keras_coda.presets.names import bundled


def size(path):
    with Image.open(path) as image:
        image.verify()
        return image.size


HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

HIDDEN = sys.argv[2:]
sys.meta_path[:] = map(Hiding, sys.meta_path)
from keras_coda import cli
sys.exit(cli.main(["demo", "--out", sys.argv[1]]))
"""


def test_the_demo_classifies_explains_and_draws_with_no_other_backend(tmp_path):
    others = [name for name in BACKENDS if name != keras.backend.backend()]
    done = subprocess.run(
        [sys.executable, "-c", HIDE, str(tmp_path), *others], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = float(done.stdout.partition("Accuracy: ")[2].partition("%")[0])
    assert accuracy >= 95
    residual = float(done.stdout.partition("residual of at most ")[2].split()[0])
    assert 0 < residual < 1e-4
    width, height = size(tmp_path / "digits.png")
    assert width > 500
    assert height > 500


@pytest.mark.one_backend
def test_the_demo_takes_other_networks_than_coda_nets(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "MOST_EXPLAINED", 200)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    folder = presets.save(model, tmp_path / "linear", dataset="digits", classes=list("0123456789"))
    assert cli.main(["demo", "--preset", str(folder), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Classifying 20 images that it was not trained on, and explaining 10 logits of each" in printed
    assert size(tmp_path / "out" / "mistakes.png")[0] > 500


@pytest.mark.one_backend
@pytest.mark.parametrize("chosen", [name for name in BACKENDS if importlib.util.find_spec(name)])
def test_without_keras_backend_the_installed_backend_is_taken(chosen, tmp_path):
    hide = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *a: None if name in {BACKENDS!r} and name != {chosen!r} "
        "else find(name, *a)\n"
        "from keras_coda import _keras_backend\n"
        "_keras_backend.choose()\n"
        "import os; print(os.environ.get('KERAS_BACKEND', 'tensorflow'))\n"
    )
    # The package's __init__ imports Keras, so the module that chooses the backend is run without it.
    load = "import types, sys, pathlib; package = types.ModuleType('keras_coda')\n"
    load += f"package.__path__ = [{os.path.dirname(cli.__file__)!r}]; sys.modules['keras_coda'] = package\n"
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment["KERAS_HOME"] = str(tmp_path)
    for empty in ({}, {"KERAS_BACKEND": ""}):
        done = subprocess.run(
            [sys.executable, "-c", load + hide], env={**environment, **empty}, capture_output=True, text=True
        )
        assert (done.stdout.strip() or "tensorflow") == chosen, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", load + hide.replace(f"name != {chosen!r}", "True")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "needs a Keras backend, one of tensorflow, jax, torch, and found none" in done.stderr


@pytest.fixture
def digit_files(tmp_path):
    """Three held-out digits as PNG files, and their labels."""
    _, (images, labels) = data.load_digits()
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"digit{index}.png")
        Image.fromarray((images[index, ..., 0] * 255).round().astype("uint8")).save(paths[-1])
    return paths, labels[:3]


def test_explain_draws_a_picture_for_each_image_and_prints_its_class(digit_files, tmp_path, capsys):
    paths, labels = digit_files
    out = tmp_path / "out"
    assert cli.main(["explain", *map(str, paths), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for path, label, line in zip(paths, labels, lines, strict=True):
        assert f"{path}: {label}, p = " in line
        assert size(out / path.name)[0] > 500
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in paths]


@pytest.mark.one_backend
def test_a_network_of_one_class_is_explained(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    model = keras_coda.CoDANet([1], [3], [2], [1], 1.0, image_shape=(16, 16, 1))
    folder = presets.save(model, tmp_path / "one", classes=["three"], dataset="digits")
    assert cli.main(["explain", str(paths[0]), "--preset", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert f"{paths[0]}: three, p = " in capsys.readouterr().out
    assert (tmp_path / "out" / paths[0].name).exists()


@pytest.mark.one_backend
def test_explain_takes_a_target_by_its_name(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    assert cli.main(["explain", str(paths[0]), "--target", "8", "--out", str(tmp_path / "out")]) == 0
    assert cli.main(["explain", str(paths[0]), "--target", "eight", "--out", str(tmp_path / "out")]) == 2
    assert "--target must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9. Received: eight" in capsys.readouterr().err


@pytest.mark.one_backend
def test_wrong_input_is_one_line_on_stderr_and_leaves_nothing(tmp_path, capsys):
    text = tmp_path / "text.png"
    text.write_text("no image")
    out = tmp_path / "out"
    for arguments, expected in (
        (["explain", str(text)], "text.png is not an image"),
        (["explain", str(tmp_path / "missing.png")], "missing.png"),
        (["explain", str(text), "--preset", "nonsense"], "nonsense"),
        (["explain", str(text), "--preset", "m_coda_cifar10"], "not released"),
        (["explain", str(text), str(text)], "names must differ"),
        (["demo", "--preset", "xl_coda_tinyimagenet"], "not released"),
        (["train", "nonsense"], "No recipe 'nonsense'"),
        (["evaluate", "nonsense"], "Unknown preset 'nonsense'"),
        (["evaluate", "xs_coda_digits", "--methods", "magic"], "Received: magic"),
        (["evaluate", "xs_coda_digits", "--dataset", "nonsense"], "No data set 'nonsense'"),
        (["evaluate", "xs_coda_digits", "--published", str(text)], "no JSON file of published scores"),
        (["evaluate", str(text.with_suffix(".keras")), "--dataset", "digits"], "text.keras"),
    ):
        assert cli.main([*arguments, "--out", str(out)]) == 2
        printed = capsys.readouterr()
        assert expected in printed.err
        assert printed.err.count("\n") == 1
        assert "Traceback" not in printed.err
    assert not out.exists()


@pytest.mark.one_backend
def test_a_reader_that_has_enough_is_no_error(capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.suppress(BrokenPipeError), open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert cli.main(["presets"]) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.one_backend
def test_an_interruption_where_python_ignores_it_stops_the_command(capsys, monkeypatch):
    def interrupted(phase, info):
        gc.callbacks.remove(interrupted)
        raise KeyboardInterrupt

    def run(_):
        gc.callbacks.append(interrupted)
        gc.collect()
        for _ in range(600):
            time.sleep(0.1)

    hook = sys.unraisablehook
    # Programs that a shell starts by `&` ignore Ctrl-C.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(cli.COMMANDS["presets"], "run", run)
    try:
        assert cli.main(["presets"]) == 130
    finally:
        signal.signal(signal.SIGINT, former)
    assert capsys.readouterr().err == "keras-coda: interrupted\n"
    assert sys.unraisablehook is hook


@pytest.mark.one_backend
def test_a_warning_is_said_once(capsys, monkeypatch):
    def run(_):
        for line in (1, 2):
            warnings.warn_explicit("two\nlines", UserWarning, cli.__file__, line)

    monkeypatch.setattr(cli.COMMANDS["presets"], "run", run)
    assert cli.main(["presets"]) == 0
    assert capsys.readouterr().err.splitlines() == ["keras-coda: two", "keras-coda: lines"]


def test_pictures_never_take_the_place_of_images(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    folder = paths[0].parent
    before = {path: path.read_bytes() for path in paths}
    photo = folder / "photo.jpg"
    Image.open(paths[0]).save(photo)
    (folder / "photo.png").write_text("another file")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "digit1.png").hardlink_to(paths[1])
    for arguments, expected in (
        (["explain", str(paths[0]), "--out", str(folder)], "must not be the folder of the images"),
        (["explain", str(photo), "--out", str(folder)], "photo.png"),
        (["explain", str(paths[1]), "--out", str(linked)], "would take the place of"),
        (["explain", str(folder), "--out", str(folder / ".." / folder.name)], "must not be the folder of the images"),
    ):
        (folder / "text.txt").write_text("")
        if str(folder) in arguments:
            photo.unlink(missing_ok=True)
        assert cli.main(arguments) == 2
        assert expected in capsys.readouterr().err
    assert {path: path.read_bytes() for path in paths} == before
    assert (folder / "photo.png").read_text() == "another file"


def test_a_video_is_not_written_over_itself(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    video = tmp_path / "video.gif"
    Image.open(paths[0]).save(video, save_all=True, append_images=[Image.open(paths[1])])
    before = video.read_bytes()
    assert cli.main(["explain-video", str(video), "--out", str(video)]) == 2
    assert "would take the place of" in capsys.readouterr().err
    assert video.read_bytes() == before


def test_files_that_cannot_be_read_are_named_and_the_others_explained(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    folder, out = paths[0].parent, tmp_path / "out"
    (folder / "digit1.png").write_bytes(paths[1].read_bytes()[:60])
    (folder / "notes.txt").write_text("not an image by its name")
    assert cli.main(["explain", str(folder), str(tmp_path / "missing.png"), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"[1/4] {paths[0]}", f"[3/4] {paths[2]}"]
    assert sorted(path.name for path in out.iterdir()) == ["digit0.png", "digit2.png"]
    errors = printed.err.splitlines()
    assert len(errors) == 3
    assert "digit1.png" in errors[0]
    assert "missing.png" in errors[1]
    assert errors[2].startswith("keras-coda: 2 of 4 images were not read")
    (tmp_path / "empty").mkdir()
    assert cli.main(["explain", str(tmp_path / "empty"), "--out", str(out)]) == 2
    assert "without any" in capsys.readouterr().err


def test_a_recipe_of_another_form_is_one_line_on_stderr(tmp_path, capsys):
    good = {"base": "xs_coda_digits", "name": "mine"}
    path = tmp_path / "mine.json"
    for change, expected in (
        ({"base": str(path)}, "its own base"),
        ({"base": 3}, "is no recipe"),
        ({"base": "elsewhere"}, "No recipe 'elsewhere'"),
        ({"seed": None}, "`seed` must be of type int. Received: None"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"epochs": "3"}, "`epochs` must be of type int"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"name": "../../elsewhere"}, "`name` must be the name of a file"),
        ({"model": {"width": 3}}, "Unknown arguments of a CoDANet"),
        ({"model": {"size": 3}}, "`size` must be one of"),
        ({"model": {"filters": 3}}, "must each have an entry for every layer"),
        ({"model": None}, "is no recipe"),
    ):
        path.write_text(json.dumps({**good, **change}))
        assert cli.main(["train", str(path), "--out", str(tmp_path / "out"), "--epochs", "1"]) == 2
        printed = capsys.readouterr().err
        assert expected in printed
        assert printed.count("\n") == 1
    path.write_text(json.dumps({**vars(recipes.load("xs_coda_digits")), "model": {}}))
    assert cli.main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "`model` must have the arguments of a network" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_what_moves_a_cursor_is_printed_as_text(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    facts = presets.metadata("xs_coda_digits")
    classes = [f"\x1b[2J<script>\u202e\n{index}" for index in range(10)]
    given = {"dataset": "digits", "description": "\x07", "image_shape": facts["image_shape"]}
    model = presets.load("xs_coda_digits")
    model.class_names = classes
    folder = presets.save(model, tmp_path / "preset", **given)
    assert cli.main(["explain", str(paths[0]), "--preset", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert cli.main(["presets", str(folder)]) == 0
    assert cli.main(["explain", str(paths[0]), "--preset", str(folder), "--target", "\x1b"]) == 2
    printed = "".join(capsys.readouterr())
    assert r"\x1b[2J<script>\u202e\n" in printed
    assert not set(printed) & {"\x1b", "\u202e", "\x07"}


def test_presets_lists_all_and_prints_one(capsys):
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out
    for info in presets.list_presets():
        assert info.name in lines
    assert cli.main(["presets", "xs_coda_digits"]) == 0
    assert json.loads(capsys.readouterr().out) == presets.metadata("xs_coda_digits")


def test_recipes_are_listed_and_printed(tmp_path, capsys):
    assert cli.main(["recipe"]) == 0
    assert capsys.readouterr().out.split() == recipes.built_in()
    assert cli.main(["recipe", "s_coda_cifar10_t50", "--freeze", "dau_1"]) == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out)
    mine = recipes.load(tmp_path / "mine.json")
    assert mine == dataclasses.replace(recipes.load("s_coda_cifar10_t50"), freeze=["dau_1"])
    for unnamed in (["--freeze", "dau_1"], ["--start", "x"], ["--size", "8"], ["--images", ""]):
        assert cli.main(["recipe", *unnamed]) == 2
        assert "--images" in capsys.readouterr().err
    assert cli.main(["train", "--images", "", "--out", str(tmp_path / "out")]) == 2
    assert "--images must be a folder of photos" in capsys.readouterr().err
    for option in ("--size", "--start"):
        assert cli.main(["recipe", "xs_coda_digits", option, "8"]) == 2
        assert f"{option} is for --images" in capsys.readouterr().err
    assert cli.main(["recipe", "xs_coda_digits", "--images", "photos", "--start", "xs_coda_cifar10"]) == 2
    assert "--start is for --images without a recipe here" in capsys.readouterr().err
    for command in ("recipe", "train"):
        assert cli.main([command, "--images", "/"]) == 2
        assert capsys.readouterr().err == (
            "keras-coda: --images must be a folder of photos, of which the recipe has the name. Received: '/'\n"
        )


def test_layers_are_frozen_without_photos_too(monkeypatch):
    given = []
    monkeypatch.setattr(training, "train", lambda recipe, *others: given.append(recipe) or (None, {}))
    assert cli.main(["train", "--freeze", "dau_[12]"]) == 0
    assert (given[0].name, given[0].freeze) == ("xs_coda_digits", ["dau_[12]"])


def test_train_writes_a_preset_that_explain_takes(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    recipe = {
        "name": "tiny",
        "description": "",
        "dataset": "digits",
        "model": {"filters": [10], "kernel_sizes": [3], "ranks": [2], "strides": [4], "add_negative": False},
        "learning_rate": 0.01,
        "batch_size": 128,
        "epochs": 1,
    }
    (tmp_path / "tiny.json").write_text(json.dumps(recipe))
    out = tmp_path / "tiny"
    assert cli.main(["train", str(tmp_path / "tiny.json"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "test_accuracy: " in printed
    assert str(out) in printed
    pictures = tmp_path / "pictures"
    assert cli.main(["explain", str(paths[0]), "--preset", str(out), "--out", str(pictures)]) == 0
    assert cli.main(["train", str(tmp_path / "tiny.json"), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.one_backend
def test_photos_have_a_default_folder_that_is_not_theirs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            noise = np.random.default_rng([ord(name), number]).integers(0, 256, (8, 8, 3), "uint8")
            Image.fromarray(noise).save(tmp_path / "photos" / name / f"{number}.png")
    given = []
    monkeypatch.setattr(training, "train", lambda recipe, *others: given.append((recipe.name, *others)) or (None, {}))
    assert cli.main(["train", "--images", "photos"]) == 0
    name, out, options = given.pop()
    assert (name, str(out), str(options.logs)) == ("photos", "my_photos", "my_photos.logs")
    assert cli.main(["train", "--images", "photos", "--start", "xs_coda_cifar10", "--size", "32"]) == 0
    capsys.readouterr()
    for command in (["train"], ["recipe"], ["train", "s_coda_cifar10_fast"]):
        assert cli.main([*command, "--images", "photos", "--start", "xs_coda_cifar10", "--size", "64"]) == 2
        assert capsys.readouterr().err == (
            "keras-coda: --size is not for --start: photos get the size of the preset, here 32 x 32. "
            "Received: --size 64 --start xs_coda_cifar10\n"
        )
    foreign = os.fsdecode(b"f\xe9rias")
    (tmp_path / "photos").rename(foreign)
    for command in ("train", "recipe"):
        assert cli.main([command, "--images", foreign]) == 2
        assert "`name` must be text in UTF-8. Received: 'f\\udce9rias'" in capsys.readouterr().err


@pytest.mark.one_backend
def test_evaluate_prints_a_summary_and_writes_a_report(tmp_path, capsys):
    out = tmp_path / "out"
    few = ["--methods", "contributions", "grad_cam", "--grids", "2", "--images", "2", "--points", "3"]
    assert cli.main(["evaluate", "xs_coda_digits", *few, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("localisation:")
    best = lines[start + 1].split()
    assert best[0] == "contributions"
    assert 0.4 < float(best[1]) < 1
    assert lines[start + 3] == "removal_least_first:"
    assert lines[-2] == f"Wrote {out / 'report.html'}"
    assert lines[-1].startswith("The metadata stay as they are")
    assert (out / "report.html").stat().st_size > 10_000
    assert cli.main(["evaluate", "xs_coda_digits", *few, "--seed", "1", "--out", str(out)]) == 2
    assert "holds an evaluation with other settings" in capsys.readouterr().err


@pytest.mark.one_backend
def test_the_options_of_evaluate_reach_it(tmp_path, monkeypatch):
    given, subject = [], types.SimpleNamespace(model="model")

    def evaluate(*arguments, **settings):
        given.append((arguments, settings))
        raise ValueError("That is enough.")

    monkeypatch.setattr(reports, "evaluate", evaluate)
    monkeypatch.setattr(reports, "Published", str)
    monkeypatch.setattr(reports.Subject, "load", lambda *arguments: given.append(arguments) or subject)
    monkeypatch.setattr(reports, "methods_of", lambda *arguments: given.append(arguments) or {})
    command = """evaluate mine --dataset other --data-dir here --unit-range --methods rise --settings tinyimagenet
        --metrics deletion --grid-size 2 --grids 5 --images 6 --points 7 --sanity 8 --seed 9 --batch-size 10
        --published scores.json --out"""
    assert cli.main([*command.split(), str(tmp_path)]) == 2
    protocol = metrics.Protocol(metrics=["deletion"], grid_size=2, grids=5, removed=6, points=7, seed=9)
    assert given == [
        ("mine", "other", "here", True),
        ("model", ["rise"], "tinyimagenet", 10, "paper"),
        ((subject, tmp_path, {}, protocol), {"sanity": 8, "published": "scores.json", "batch_size": 10}),
    ]


@pytest.mark.one_backend
def test_evaluate_writes_results_into_the_metadata_of_a_folder(tmp_path, capsys):
    folder = shutil.copytree(bundled()["xs_coda_digits"], tmp_path / "mine")
    before = presets.metadata(folder)
    few = ["evaluate", str(folder), "--methods", "contributions", "--grids", "2", "--images", "2", "--points", "3"]
    assert cli.main([*few, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote the results into {folder / 'metadata.json'}"
    after = presets.metadata(folder)
    results = after["results"]
    for key in ("test_images", "test_accuracy", "test_loss", "completeness_residual", "epochs"):
        assert results[key] == pytest.approx(before["results"][key])
    assert (results["localisation_grids"], results["removal_images"]) == (2, 2)
    assert results["test_accuracy"] < results["test_top_5_accuracy"] <= 1
    assert 0.4 < results["localisation"] < 1
    assert 0 < results["removal"] < 1
    changed = {"results": {}, "metadata_sha256": ""}
    assert {**after, **changed} == {**before, **changed}
    # Results on other data do not belong to the preset.
    images, labels = np.random.default_rng(0).random((10, 16, 16, 1)), np.arange(10)
    np.savez(tmp_path / "other.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    other = ["--dataset", str(tmp_path / "other.npz"), "--metrics", "deletion", "--out", str(tmp_path / "other")]
    assert cli.main([*few, *other]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("The metadata stay as they are")
    assert presets.metadata(folder) == after


@pytest.mark.one_backend
def test_explain_video_writes_an_animation_and_takes_a_target_by_its_name(digit_files, tmp_path, capsys):
    paths, _ = digit_files
    out = tmp_path / "explained.gif"
    frames = ["explain-video", str(paths[0].parent), "--fps", "5"]
    assert cli.main([*frames, "--out", str(out), "--target", "8"]) == 0
    assert f"Wrote {out}, {len(paths)} frames" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.n_frames == len(paths)
        assert image.info["duration"] == 200
    for options, expected in (
        (["--target", "eight"], "--target must be one of 0, 1, 2"),
        (["--out", str(tmp_path / "explained.txt")], "A video's name must end in one of .gif"),
    ):
        assert cli.main([*frames, *options]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.one_backend
def test_presets_of_other_networks_get_images_in_the_unit_range(tmp_path, monkeypatch):
    """`export` and `explain-video` give them what `explain` gives them."""
    last = keras.layers.Dense(2, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Flatten(), last])
    folder = presets.save(model, tmp_path / "linear", classes=["a", "b"], dataset="noise")
    given, exported = [], []
    monkeypatch.setattr(exporting, "export", lambda m, *_, **settings: given.append(settings) or exported.append(m))
    monkeypatch.setattr(explanations, "explain_video", lambda *arguments, **settings: given.append(settings))
    options = ["--input-dtype", "uint8", "--weights", "int8"]
    assert cli.main(["export", str(folder), "linear.onnx", *options]) == 0
    assert cli.main(["explain-video", "frames", "--preset", str(folder)]) == 0
    assert [settings["unit_range"] for settings in given] == [True, True]
    assert exported[0].layers[-1].compute_dtype == "float32"
    assert given[0] == {
        "classes": ["a", "b"],
        "image_shape": [8, 6, 3],
        "input_dtype": "uint8",
        "unit_range": True,
        "weights": "int8",
    }


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "command", [[], ["demo"], ["explain"], ["explain-video"], ["evaluate"], ["presets"], ["train"]]
)
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(" ".join(["usage: keras-coda", *command]))
    assert max(map(len, printed.splitlines())) <= 120
    words = " ".join(printed.split())
    if not command:
        for module in cli.COMMANDS.values():
            assert " ".join(module.DESCRIPTION.split()) in words
    if command == ["evaluate"]:
        for name in attributions.published("cifar10"):
            assert name in words


def test_the_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    expected = f"keras-coda {keras_coda.__version__} (Keras {keras.__version__}, {keras.backend.backend()})\n"
    assert capsys.readouterr().out == expected


def test_images_are_classified_as_arrays_are(digit_files):
    """The files have 8 bits per pixel. Their logits may differ from those of the original arrays by this rounding."""
    paths, _ = digit_files
    _, (images, _) = data.load_digits()
    model = presets.load("xs_coda_digits")
    read = np.stack([read_image(path, (16, 16, 1)) for path in paths])
    np.testing.assert_allclose(read, images[:3], atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(model.predict(read, verbose=0), model.predict(images[:3], verbose=0), atol=0.2)
