"""`scripts/gpu_*.py`: the division of time, steps and files, and on JAX a whole training of a tiny network."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
from small_models import CLASSES, small_coda_net

import keras_coda
from keras_coda import attributions, metrics, presets, recipes
from keras_coda.contractions import blocked
from keras_coda.data.wordnet import first_names

SIZE = 8
MODEL = {"filters": [4, 6, CLASSES], "kernel_sizes": [3, 3, 1], "ranks": [2, 3, 3], "strides": [1, 2, 1]}


@pytest.fixture
def plan(load):
    return load("gpu.plan")


def test_stages_are_sizes_and_shares(plan):
    recipe = recipes.load("xs_coda_digits")
    assert plan.stages("", recipe, 64) == [(64, 1.0)]
    # Of the recipe, with shares of the epochs. An image of half the size takes a quarter of the time.
    in_stages = dataclasses.replace(recipe, stages=[{"scale": 0.5, "share": 0.8}, {"scale": 1, "share": 0.2}])
    assert plan.stages("", in_stages, 64) == [(32, 0.2), (64, 0.2)]
    assert plan.stages("32:0.7,64:0.3", in_stages, 64) == [(32, 0.7), (64, 0.3)]
    for text in ("32", "128:1", "32:0", "a:1", "32:1,"):
        with pytest.raises(ValueError, match=rf"SIZE:SHARE.*up to 64.*Received: '{text}'"):
            plan.stages(text, recipe, 64)


def test_a_training_that_is_too_short_is_not_started(plan):
    # 60 to begin, 3 x 25 to try learning rates, 30 to train, 60 to measure, 8 to save.
    plan.check_time(233, trials=3, trial=25, measuring=60)
    with pytest.raises(ValueError, match=r"at least 233 s.*Received: 232 s"):
        plan.check_time(232, trials=3, trial=25, measuring=60)
    plan.check_time(158, trials=1, trial=25, measuring=60)


@pytest.mark.parametrize(("steps", "most", "expected"), [(97, 97, 97), (390, 13, 13), (391, 97, 78), (5, 97, 5)])
def test_an_epoch_is_made_of_equal_calls(plan, steps, most, expected):
    assert plan.chunk(steps, most) == expected


def test_stages_share_the_time_that_is_left(plan):
    # 97 % of 60 of 100 seconds, at half a second a step, in calls of 10.
    assert plan.steps_in(100, 0.6, 1.0, 0.5, 1000, 10) == 110
    assert plan.steps_in(100, 0.6, 0.6, 0.5, 1000, 10) == 190
    assert plan.steps_in(100, 0.6, 1.0, 0.5, 45, 10) == 40
    for seconds in (3, -5):
        with pytest.raises(ValueError, match=r"at least 10 steps of 0.5 s. Received"):
            plan.steps_in(seconds, 0.6, 1.0, 0.5, 1000, 10)


def test_the_learning_rate_grows_stays_and_falls(plan):
    schedule = plan.Schedule(2.0, 8, 4, warm_up=0.25, fall=0.5)
    np.testing.assert_allclose(schedule.rates(1000, 1.0), [0.5, 1.5, 2, 2])
    assert schedule.progress == 0.5
    np.testing.assert_allclose(schedule.rates(1000, 1.0), [1.75, 1.25, 0.75, 0.25])
    assert schedule.progress == 1
    np.testing.assert_allclose(plan.Schedule(2.0, 3, 3, 0, 0).rates(1000, 1.0), [2, 2, 2])


def test_the_learning_rate_reaches_its_end_when_time_is_up(plan):
    """Though steps take twice as long as planned, and then longer."""
    schedule = plan.Schedule(1.0, 100, 5, warm_up=0, fall=1)
    seconds, rates = 100.0, []
    while schedule.progress < 1:
        a_step = 2.0 if seconds > 50 else 3.0
        rates.append(schedule.rates(seconds, a_step))
        seconds -= 5 * a_step
    assert seconds == 5  # less than a call takes
    assert len(rates) == 8
    falls = np.diff(np.concatenate([[1], *rates, [0]]))
    assert (falls < 0).all()
    assert falls.min() > -0.034  # evenly: a first step of 1 / 50, and later ones of 1 / 30 or less
    # What is no longer possible is not tried.
    schedule = plan.Schedule(1.0, 100, 5, warm_up=0, fall=1)
    np.testing.assert_allclose(schedule.rates(-3.0, 1.0), [0.9, 0.7, 0.5, 0.3, 0.1])
    assert schedule.progress == 1


def test_a_slow_first_call_shortens_no_warm_up(plan):
    """XL's plan: 4,565 steps of 46 ms, in calls of 11. The first call takes six times as long."""
    schedule, chunk, a_step, spent, rates = plan.Schedule(1.0, 4565, 11, warm_up=0.02, fall=1), 11, 0.046, 0.0, []
    for call in range(12):
        rates.extend(schedule.rates(210 - spent, plan.seconds_a_step(a_step, spent, call * chunk)))
        spent += chunk * a_step * (1 if call else 6)
    assert 70 < np.argmax(rates) < 95  # of 91
    # It learns of steps that stay slow.
    assert plan.seconds_a_step(0.046, 0, 0) == pytest.approx(0.046)
    assert plan.seconds_a_step(0.046, 200, 2000) == pytest.approx(0.1, rel=0.06)


def test_the_best_rate_has_the_lowest_finite_loss(plan):
    assert plan.best({0.1: 2.0, 0.2: 1.0, 0.3: float("nan"), 0.4: float("inf")}) == 0.2
    with pytest.raises(FloatingPointError, match=r"No learning rate.*nan"):
        plan.best({0.1: float("nan")})


def test_every_epoch_has_every_image_once_in_an_order_of_its_own(plan):
    calls = plan.batches(21, (2, 5), seed=0)
    epochs = [np.concatenate([next(calls).ravel() for _ in range(2)]) for _ in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 20
    assert epochs[0].tolist() != epochs[1].tolist()
    again = plan.batches(21, (2, 5), seed=0)
    assert np.concatenate([next(again).ravel() for _ in range(2)]).tolist() == epochs[0].tolist()


def test_the_fast_recipes_can_be_trained_so(plan):
    assert plan.schedule(recipes.load("s_coda_cifar10_fast"), None) == (0.02, 1.0)
    assert plan.schedule(recipes.load("xl_coda_tinyimagenet_fast"), 0.0) == (0.02, 0.0)


@pytest.mark.parametrize("fall", [None, 1.0])
def test_schedules_in_steps_are_refused(plan, fall):
    with pytest.raises(ValueError, match=r'decay "linear" or "none".*Received: schedule='):
        plan.schedule(recipes.load("m_coda_cifar10"), fall)


def test_files_are_laid_out_so_that_each_folder_fits(load):
    parcels = load("gpu_pack").parcels
    assert parcels([3, 3, 3, 5, 1], 6) == [[0, 1], [2, 4], [3]]
    assert parcels([], 6) == []
    with pytest.raises(ValueError, match=r"at most 6 bytes. Received: one of 7"):
        parcels([7], 6)


INSTALL = """
import numpy as np
CIFAR10_CLASSES = ["a", "b"]
def cifar10(split):
    count = 2000 if split == "train" else 1000
    return np.full((count, 32, 32, 3), count // 1000, "uint8"), np.zeros(count, "uint8")
"""


@pytest.mark.one_backend
def test_folders_fit_a_transfer_with_the_checkout_and_are_unpacked(load, tmp_path, monkeypatch):
    pack, unpack, arrays = load("gpu_pack"), load("gpu_unpack"), load("gpu.arrays")
    checkout, data, start = tmp_path / "checkout", tmp_path / "data", tmp_path / "xl_1"
    subprocess.run(["git", "init", "-q", checkout], check=True)
    sizes = {checkout / "code.py": 200, start / "config.json": 50, start / "model.weights.h5.00": 690}
    sizes |= {data / "cifar10" / f"{i}.webp": 390 + i for i in range(3)}
    for path, size in sizes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([size % 256]) * size)
    (checkout / ".gitignore").write_text("build/\n")
    (data / "install.py").write_text(INSTALL)
    monkeypatch.chdir(checkout)
    for name, size in {"MIB": 1, "SPARE": 100, "LEAST": 300}.items():
        monkeypatch.setattr(pack, name, size)
    monkeypatch.setattr(pack, "wheels", lambda folder: [])
    arguments = ["s", "--data", str(data), "--limit"]
    with pytest.raises(SystemExit):
        pack.main([*arguments, "600"])
    pack.main([*arguments, "1000"])
    pack.main([*arguments, "1000", "--start", str(start)])  # Folders of before neither count nor stay.
    folders = sorted((checkout / "build/gpu/s").iterdir())
    assert [folder.name for folder in folders] == ["1", "2", "3", "4"]
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 1000 - 200 - 7 - 100

    monkeypatch.setattr(unpack, "CIFAR10_IMAGES", {"train": 2000, "test": 1000})
    monkeypatch.setattr(sys, "path", [*sys.path])
    target = tmp_path / "gpu"
    for folder in folders:
        assert not (target / "arrays" / arrays.COMPLETE).exists()
        unpack.main([str(folder), str(target), "--no-wheels"])
    monkeypatch.delitem(sys.modules, "install")
    for path in start.iterdir():
        assert (target / "start" / path.name).read_bytes() == path.read_bytes()
    dataset = arrays.load(target / "arrays")
    assert (dataset.x_train.shape, dataset.x_test.max()) == ((2000, 32, 32, 3), 1)


def test_arrays_are_read_when_they_are_complete(load, tmp_path):
    arrays = load("gpu.arrays")
    make_data(tmp_path, arrays)
    dataset = arrays.load(tmp_path)
    assert dataset.classes == ["a", "b", "c", "d"]
    assert (dataset.x_train.dtype, dataset.y_train.dtype) == ("uint8", "int32")
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "wnids.txt").write_text("n2\nn1\nn3\n")
    (tmp_path / "words.txt").write_text("n1\tcat, mau\nn2\tdog\nn3\tcat\n")
    assert arrays.load(tmp_path).classes == ["dog", "cat (n1)", "cat (n3)"]
    (tmp_path / "complete").unlink()
    with pytest.raises(FileNotFoundError, match="has not all images"):
        arrays.load(tmp_path)


def test_a_class_without_a_name_has_its_number():
    assert first_names(["n1"], "") == ["n1"]


def make_data(folder, arrays, count=64, held_out=20):
    """Images with a gray value for each class, and noise."""
    rng = np.random.default_rng(0)
    for name, size in (("train", count), ("test", held_out)):
        labels = rng.integers(CLASSES, size=size)
        noise = rng.integers(32, size=(size, SIZE, SIZE, 3))
        np.save(folder / f"x_{name}.npy", (noise + 60 * labels[:, None, None, None]).astype("uint8"))
        np.save(folder / f"y_{name}.npy", labels.astype("uint8"))
    (folder / "classes.txt").write_text("a\nb\nc\nd\n")
    (folder / arrays.COMPLETE).touch()


def split_up(preset, folders):
    """Distribute the files of a preset over several folders."""
    for number, path in enumerate(sorted(preset.iterdir())):
        folder = folders[number % len(folders)]
        folder.mkdir(exist_ok=True, parents=True)
        (folder / path.name).write_bytes(path.read_bytes())


@pytest.mark.one_backend
def test_parts_from_several_folders_are_one_preset(load, tmp_path, rng, monkeypatch):
    join = load("gpu_join")
    make_data(tmp_path, load("gpu.arrays"))
    model = small_coda_net(image_shape=(SIZE, SIZE, 3))
    images, labels = np.load(tmp_path / "x_test.npy"), np.load(tmp_path / "y_test.npy")
    accuracy = float(np.mean(model.predict(images, verbose=0).argmax(-1) == labels))
    facts = {"dataset": "noise", "classes": ["a", "b", "c", "d"], "description": "Of noise.", "license": "MIT"}
    preset = presets.save(model, tmp_path / "preset", **facts, results={"test_accuracy": accuracy}, part_bytes=5000)
    folders = [tmp_path / "1", tmp_path / "2" / "deeper"]
    split_up(preset, folders)
    arguments = [str(tmp_path / "1"), str(tmp_path / "2"), "--data", str(tmp_path), "--out", str(tmp_path / "joined")]
    monkeypatch.setattr(join, "PART_BYTES", 5000)
    assert join.main([*arguments, "--half", "--parts"]) == 0
    metadata = presets.metadata(tmp_path / "joined")
    assert metadata["weights_parts"] > 1
    assert {key: metadata[key] for key in ("name", *facts)} == {"name": "joined", **facts}
    assert metadata["results"]["test_accuracy"] == accuracy
    assert metadata["results"]["completeness_residual"] < 1e-5
    for array, other in zip(presets.load(tmp_path / "joined").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other.astype("float16"))
    # The results that were measured elsewhere belong to another network.
    presets.add_results(preset, {"test_accuracy": 0.999})
    split_up(preset, folders)
    assert join.main(arguments) == 1
    for array, other in zip(presets.load(tmp_path / "joined").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    part = next(folders[0].glob("*.h5.*"))
    (folders[1] / part.name).write_bytes(b"")
    with pytest.raises(ValueError, match="twice, with different contents"):
        join.main(arguments)
    part.unlink()
    (folders[1] / part.name).unlink()
    with pytest.raises(presets.PresetError, match=f"{part.name} is missing"):
        join.main(arguments)


@pytest.mark.one_backend
def test_a_check_agrees_within_the_error_of_so_few_images(load):
    agrees, found = load("gpu_join").agrees, {"accuracy": 0.5, "images": 100, "completeness_residual": 1e-6}
    assert agrees(found, {})
    assert agrees(found, {"test_accuracy": 0.65})
    assert not agrees(found, {"test_accuracy": 0.75})  # almost six standard errors
    assert not agrees({**found, "completeness_residual": 2e-4}, {"test_accuracy": 0.5})
    # One of twenty images may differ, though all were right.
    assert agrees({**found, "accuracy": 0.95, "images": 20}, {"test_accuracy": 1.0})


@pytest.mark.one_backend
@pytest.mark.parametrize(("came", "written", "status"), [(0.5, 0.5, 0), (0.5, 0.0, 1), (0.0, 0.5, 1)])
def test_weights_are_checked_as_they_came_and_as_they_are_written(load, tmp_path, monkeypatch, came, written, status):
    join = load("gpu_join")
    make_data(tmp_path, load("gpu.arrays"))
    model, facts = small_coda_net(image_shape=(SIZE, SIZE, 3)), {"dataset": "noise", "classes": list("abcd")}
    preset = presets.save(model, tmp_path / "preset", **facts, results={"test_accuracy": 0.5})
    found = iter([{"accuracy": a, "images": 100, "completeness_residual": 0.0} for a in (came, written)])
    monkeypatch.setattr(join, "checked", lambda *_: next(found))
    assert join.main([str(preset), "--data", str(tmp_path), "--out", str(tmp_path / "joined")]) == status


@pytest.mark.one_backend
def test_what_is_measured_part_by_part_is_what_the_metrics_measure(load, rng, monkeypatch):
    """Until time is up, and of each part at least the first."""
    measure = load("gpu.measure")
    for name, number in {"GRIDS_AT_ONCE": 2, "IMAGES_AT_ONCE": 2, "POINTS": 5}.items():
        monkeypatch.setattr(measure, name, number)
    model = small_coda_net(image_shape=(None, None, 3), logit_bias=0.0)
    method = attributions.Contributions(model)
    tiles = rng.random((5, 2 * SIZE, 2 * SIZE, 3), "float32")
    grids = metrics.Grids(tiles, rng.permuted(np.tile(np.arange(CLASSES), (5, 1)), axis=1), np.zeros((5, 4), int), 2)
    scores = metrics.localisation(method.maps(tiles, grids.targets), 2)
    images, labels = rng.random((5, SIZE, SIZE, 3), "float32"), np.array([0, 1, 2, 3, 1])
    curves = metrics.pixel_removal(model, images, labels, method.maps(images, labels), fraction=0.25, points=5)
    for until, count in ((np.inf, 5), (0.0, 2)):
        found, of = measure.localisation(method, grids, until)
        assert (found, of) == (pytest.approx(scores[:count].mean(), rel=1e-3), count)
        found, of = measure.removal(model, images, labels, until)
        assert (found, of) == (pytest.approx(curves[:count].mean(), rel=1e-4), count)


needs_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the job is in JAX")


@pytest.fixture
def tiny(load, tmp_path, monkeypatch):
    """A recipe of a tiny network, and the command line for it."""
    monkeypatch.setattr(load("gpu.log"), "BEGAN", time.monotonic())
    make_data(tmp_path, load("gpu.arrays"))
    recipe = {
        "base": "s_coda_cifar10_fast",
        "name": "tiny",
        "model": {**MODEL, "temperature": 50.0},
        "batch_size": 8,
        "learning_rate": 0.03,
        "epochs": 6,
    }
    (tmp_path / "tiny.json").write_text(json.dumps(recipe))
    common = ["--data", str(tmp_path), "--minutes", "9", "--trial", "0", "--chunk", "4", "--removed", "4"]
    return lambda out, *options: [str(tmp_path / "tiny.json"), *common, "--out", str(tmp_path / out), *options]


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@needs_jax
def test_images_are_cropped_and_flipped_each_on_its_own(load):
    programs = load("gpu.programs")
    image = np.arange(1, 21, dtype="uint8").reshape(4, 5, 1)
    images = np.tile(image, (400, 1, 1, 1))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    crops = [padded[row : row + 4, column : column + 5] for row in range(3) for column in range(3)]
    possible = {(one.astype("float32") / np.float32(255)).tobytes() for crop in crops for one in (crop, crop[:, ::-1])}
    found = np.asarray(programs.augmented(programs.jax.random.key(0), images, flip=True, padding=1))
    assert {np.round(255 * one).astype("uint8").tobytes() for one in found} == {
        np.round(255 * np.frombuffer(one, "float32")).astype("uint8").tobytes() for one in possible
    }
    plain = programs.augmented(programs.jax.random.key(0), images, flip=False, padding=0)
    np.testing.assert_allclose(plain, images / np.float32(255), rtol=1e-6)


@needs_jax
def test_each_step_has_its_rate_and_an_augmentation_of_its_own(load, rng):
    programs, feeds = load("gpu.programs"), load("gpu.feeds")
    images, labels = rng.integers(0, 256, (4, SIZE, SIZE, 3), "uint8"), np.arange(4, dtype="int32")
    feed = feeds.OnDevice(images, labels, keras_coda.data.Augmentation(flip=True))
    model = small_coda_net(image_shape=(SIZE, SIZE, 3))
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    program = programs.steps(model, optimizer, feed, (4, 4))
    weights, variables = (
        programs.strongly_typed(v.value for v in of) for of in (model.trainable_variables, optimizer.variables)
    )
    (given,) = feed.calls([np.tile(np.arange(4, dtype="int32"), (4, 1))])
    key = programs.jax.random.key(0)
    still, _, losses, _ = program(weights, variables, *given, key, np.zeros(4, "float32"))
    for one, other in zip(still, weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({float(loss) for loss in losses}) > 1
    moved, *_ = program(weights, variables, *given, key, np.array([0, 0, 0, 0.1], "float32"))
    further, *_ = program(weights, variables, *given, key, np.array([0, 0, 0, 0.2], "float32"))
    for one, two, start in zip(moved, further, weights, strict=True):
        np.testing.assert_allclose(two - start, 2 * (one - start), rtol=1e-2, atol=1e-6)


@needs_jax
def test_a_test_is_of_all_images_at_the_scale_of_the_training(load, rng, monkeypatch):
    programs = load("gpu.programs")
    monkeypatch.setattr(programs, "TESTED_AT_ONCE", 3)
    images = rng.integers(0, 256, (31, SIZE, SIZE, 3), "uint8")
    model = load("gpu_train").ResizingCoDANet(**MODEL, image_shape=(None, None, 3), data_format="channels_last")
    model.set_weights([rng.uniform(-0.7, 0.7, array.shape) for array in model.get_weights()])
    predicted = {}
    for model.scale in (1.0, 0.5):
        predicted[model.scale] = np.asarray(model(images / np.float32(255), training=True)).argmax(-1)
    assert (predicted[1.0] != predicted[0.5]).any()
    labels = np.where(np.arange(31) == 0, (predicted[0.5] + 1) % CLASSES, predicted[0.5]).astype("int32")
    weights = programs.strongly_typed(variable.value for variable in model.trainable_variables)
    accuracy = programs.test(model, programs.jnp.asarray(images), programs.jnp.asarray(labels))(weights)
    assert accuracy == pytest.approx(30 / 31)


@needs_jax
def test_a_job_trains_and_a_second_one_goes_on(load, tiny, tmp_path, monkeypatch):
    train, programs = load("gpu_train"), load("gpu.programs")
    steps, keys = programs.steps, []

    def recorded(*arguments):
        program = steps(*arguments)

        def call(*given):
            if given[-1].any():  # not to measure the speed
                keys.append(programs.jax.random.key_data(given[-2]).tolist())
            return program(*given)

        return call

    monkeypatch.setattr(programs, "steps", recorded)
    assert train.main(tiny("first", "--rates", "0.01,0.03", "--stages", "4:0.2,8:0.8")) == 0
    assert (tmp_path / "first" / "pid").read_text() == str(os.getpid())
    said = lines(tmp_path / "first")
    tried = {line["tried"]: float(line["loss"]) for line in said if "tried" in line}
    assert [*tried] == [0.01, 0.03]
    trained = [line for line in said if "loss" in line and "tried" not in line]
    assert [line["size"] for line in trained] == [4, 4, 4, 8, 8, 8]
    # The rate falls in the last stage alone, from the best of those tried.
    best = 0.03
    assert tried[best] < tried[0.01]
    assert [line["rate"] for line in trained[:3]] == pytest.approx([best] * 3)
    assert 0 < trained[-1]["rate"] < trained[-2]["rate"] < trained[-3]["rate"] < best
    of_steps = keys[len(tried) :]
    assert len({*map(tuple, of_steps)}) == len(of_steps) == 12
    assert next(line for line in said if "kernels" in line)["trains_with"] == "blocked"
    assert said[-1]["ended"]
    results = presets.metadata(tmp_path / "first" / "preset")["results"]
    assert results["epochs"] == 6
    assert results["test_accuracy"] > 0.4  # of 4 classes
    model = presets.load(tmp_path / "first" / "preset")
    assert any((array != array.astype("float16")).any() for array in model.get_weights())
    images, labels = np.load(tmp_path / "x_test.npy"), np.load(tmp_path / "y_test.npy")
    assert np.mean(model.predict(images, verbose=0).argmax(-1) == labels) == pytest.approx(results["test_accuracy"])

    start = ["--start", str(tmp_path / "first" / "preset"), "--rates", "0.001", "--stages", "4:1"]
    assert train.main(tiny("second", *start, "--half", "--fall", "0", "--epochs", "1", "--grids", "0")) == 0
    said = lines(tmp_path / "second")
    assert next(line for line in said if "rate" in line and "epochs" in line)["fall"] == 0
    # On images of full size.
    (at_the_end,) = [line["test_accuracy"] for line in said if "test_accuracy" in line and "size" not in line]
    preset = tmp_path / "second" / "preset"
    assert presets.metadata(preset)["results"]["test_accuracy"] == at_the_end
    assert np.mean(presets.load(preset).predict(images, verbose=0).argmax(-1) == labels) == pytest.approx(at_the_end)
    weights = presets.load(tmp_path / "second" / "preset").get_weights()
    for array, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, array.astype("float16"))
        assert 0 < np.abs(array - other).max() < 0.05


@needs_jax
def test_a_job_with_rand_augment_and_the_penalty(load, tiny, tmp_path):
    """The loss has the penalty of eq. (10) of the very batches, which are those of `Augmentation` in this process."""
    train, feeds, programs = load("gpu_train"), load("gpu.feeds"), load("gpu.programs")
    recipe = json.loads((tmp_path / "tiny.json").read_text())
    recipe["model"]["penalty"] = 30.0
    recipe["augmentation"] = {"flip": True, "crop_padding": 1, "rand_augment": {"num_ops": 2, "magnitude": 10}}
    (tmp_path / "tiny.json").write_text(json.dumps(recipe))
    assert train.main(tiny("both", "--rates", "0.03", "--grids", "0", "--stages", "4:0.2,8:0.8")) == 0
    said = lines(tmp_path / "both")
    assert said[-1]["ended"]
    assert any("augmented_a_second" in line for line in said)
    assert presets.metadata(tmp_path / "both" / "preset")["results"]["epochs"] == 6
    data, augmentation = load("gpu.arrays").load(tmp_path), keras_coda.data.Augmentation(**recipe["augmentation"])
    indices = np.arange(24, dtype="int32").reshape(3, 8)
    with contextlib.closing(feeds.Augmented(tmp_path, data.y_train, augmentation, (3, 8), seed=5)) as feed:
        images, labels, places = list(feed.calls([indices[::-1], indices]))[1]
        draws = [augmentation.draw(8, np.random.default_rng((5, 3, step))) for step in range(3)]
        want = [augmentation.take(data.x_train, *given) for given in zip(indices, draws, strict=True)]
        np.testing.assert_array_equal(images[places], want)
        np.testing.assert_array_equal(labels[places], data.y_train[indices])

        losses = {}
        weights = small_coda_net(image_shape=(SIZE, SIZE, 3)).get_weights()
        for penalty in (0.0, 30.0):
            model = small_coda_net(image_shape=(SIZE, SIZE, 3), penalty=penalty, penalized_classes="all")
            model.set_weights(weights)
            optimizer = keras.optimizers.SGD(0.0)
            optimizer.build(model.trainable_variables)
            program = programs.steps(model, optimizer, feed, (3, 8))
            state = [
                programs.strongly_typed(v.value for v in vs) for vs in (model.trainable_variables, optimizer.variables)
            ]
            losses[penalty] = program(
                *state, images, labels, places, programs.jax.random.key(0), np.zeros(3, "float32")
            )[2]
        added = [
            float(30 * model.linear_map_penalty(batch, label))
            for batch, label in zip(images[places], labels[places], strict=True)
        ]
        assert min(added) > 0.01
        np.testing.assert_allclose(losses[30.0] - losses[0.0], added, rtol=1e-3)


@needs_jax
def test_a_job_that_is_too_short_or_unknown_does_not_start(load, tiny, tmp_path, capsys):
    train = load("gpu_train")
    assert train.main([*tiny("out"), "--minutes", "1"]) == 2
    assert "Too little time is left to start" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert train.main(["no_such_recipe", *tiny("out")[1:]]) == 2
    assert "No recipe 'no_such_recipe'" in capsys.readouterr().err


@needs_jax
def test_time_counts_from_the_start_of_the_process_and_is_kept_to_measure_and_save(load, plan, tiny, monkeypatch):
    train = load("gpu_train")
    monkeypatch.setattr(train.log, "seconds", lambda: 100.0)
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
    job = train.Job(train.parse(tiny("out", "--measuring", "50")))
    assert (job.end, job.train_until) == (1000 + 9 * 60 - 100, 1000 + 9 * 60 - 100 - 50 - plan.SAVING)


@needs_jax
def test_kernels_that_are_off_are_told(load, monkeypatch):
    kernels, model = load("gpu.kernels"), small_coda_net(image_shape=(None, None, 3), dtype="mixed_bfloat16")
    assert 0 < kernels.excess(model, SIZE, "direct")[0] < kernels.TOLERANCE
    right = blocked.kernel_gradient
    monkeypatch.setattr(blocked, "kernel_gradient", lambda *arrays: 1.2 * right(*arrays))
    excess, error = kernels.excess(model, SIZE, "direct")
    assert excess > 5 * kernels.TOLERANCE
    assert error == pytest.approx(0.2, rel=0.1)
    monkeypatch.setattr(blocked, "kernel_gradient", lambda *arrays: float("nan") * right(*arrays))
    assert kernels.excess(model, SIZE, "direct")[0] == float("inf")


@needs_jax
def test_a_check_without_a_reference_leaves_the_kernels(load, tiny, tmp_path, monkeypatch):
    """Where those are off, batches are halved, since "direct" takes more memory."""
    train, kernels = load("gpu_train"), load("gpu.kernels")
    options = ("--rates", "0.03", "--grids", "0", "--epochs", "1")

    def fails(*_):
        raise kernels.NoReference("direct: RuntimeError: no memory")

    monkeypatch.setattr(kernels, "excess", fails)
    assert train.main(tiny("unchecked", *options)) == 0
    (said,) = [line for line in lines(tmp_path / "unchecked") if "kernels" in line]
    assert (said["unchecked"], said["trains_with"]) == ("direct: RuntimeError: no memory", "blocked")

    monkeypatch.setattr(kernels, "excess", lambda *_: (float("inf"), float("inf")))
    try:
        assert train.main(tiny("off", *options)) == 0
    finally:
        keras_coda.set_contraction("auto")
    (said,) = [line for line in lines(tmp_path / "off") if "kernels" in line]
    assert (said["trains_with"], said["batch"]) == ("direct", 4)
    (planned,) = [line for line in lines(tmp_path / "off") if "steps" in line and "rate" in line]
    assert planned["epochs"] == 1


@needs_jax
def test_kernels_that_are_off_are_replaced_by_what_they_were_compared_with(load, tiny, tmp_path, monkeypatch):
    kernels, train = load("gpu.kernels"), load("gpu_train")
    monkeypatch.setattr(kernels, "reference", lambda form: "blocked")
    monkeypatch.setattr(kernels, "excess", lambda *_: (float("inf"), float("inf")))
    try:
        assert train.main(tiny("off", "--rates", "0.03", "--grids", "0", "--epochs", "1")) == 0
    finally:
        keras_coda.set_contraction("auto")
    (said,) = [line for line in lines(tmp_path / "off") if "kernels" in line]
    assert said["trains_with"] == "blocked"


@needs_jax
def test_a_loss_that_is_not_finite_leaves_what_was_saved(load, plan, tiny, tmp_path, monkeypatch):
    train = load("gpu_train")
    with pytest.raises(FloatingPointError, match=r"not finite\. Saved last: nothing"):
        train.main(tiny("nothing", "--rates", "1e30"))
    assert not (tmp_path / "nothing" / "preset").exists()
    rates = plan.Schedule.rates
    monkeypatch.setattr(
        plan.Schedule, "rates", lambda self, *args: rates(self, *args) * (1e30 if self.progress > 0.6 else 1)
    )
    monkeypatch.setattr(train, "SAVE_EVERY", -1)
    with pytest.raises(FloatingPointError, match=r"Saved last: \{") as problem:
        train.main(tiny("saved", "--rates", "0.03"))
    results = presets.metadata(tmp_path / "saved" / "preset")["results"]
    assert str(problem.value).endswith(str({"epochs": results["epochs"]}))


@needs_jax
@pytest.mark.parametrize("when", ["compiled", "run"])
def test_batches_that_do_not_fit_into_the_memory_are_halved(load, tiny, tmp_path, monkeypatch, when):
    """In the second stage, after a first one with whole batches."""
    train, programs = load("gpu_train"), load("gpu.programs")
    steps, problem = programs.steps, "RESOURCE_EXHAUSTED: Out of memory"

    def fails(*_):
        raise programs.jax.errors.JaxRuntimeError(problem)

    def limited(model, optimizer, feed, shape):
        if model.scale == 1 and shape[1] > 4:
            return fails if when == "run" else fails()
        return steps(model, optimizer, feed, shape)

    monkeypatch.setattr(programs, "steps", limited)
    options = ("--rates", "0.03", "--grids", "0", "--stages", "4:0.2,8:0.8")
    assert train.main(tiny("halved", *options)) == 0
    said = lines(tmp_path / "halved")
    assert [line["batch"] for line in said if "problem" in line] == [4]
    assert [line["epochs"] for line in said if "rate" in line and "steps" in line] == [3, 3]
    assert presets.metadata(tmp_path / "halved" / "preset")["results"]["epochs"] == 6
    problem = "INTERNAL: another one"
    with pytest.raises(RuntimeError, match="another one"):
        train.main(tiny("other", *options))


@needs_jax
@pytest.mark.parametrize("batch", [4, 2])
def test_a_step_takes_at_least_the_time_of_its_images(load, batch):
    job = types.SimpleNamespace(chunk=3, batch=batch, weights=(), variables=(), few_steps=lambda feed, call: ())
    feed = types.SimpleNamespace(seconds_an_image=100.0)
    assert load("gpu_train").Job.seconds_a_step(job, lambda *_: 0, feed) == 100 * batch


@needs_jax
def test_a_preset_has_no_accuracy_of_smaller_images(load, tiny, tmp_path, monkeypatch):
    train, save, saved = load("gpu_train"), presets.save, []

    def recorded(*arguments, **options):
        saved.append({**options["results"]})
        return save(*arguments, **options)

    monkeypatch.setattr(presets, "save", recorded)
    assert train.main(tiny("two", "--rates", "0.03", "--grids", "0", "--stages", "4:0.2,8:0.8")) == 0
    assert saved[0] == {"epochs": 3}
    assert list(saved[-1]) == ["epochs", "test_accuracy"]
    assert all("test_accuracy" in line for line in lines(tmp_path / "two") if "loss" in line and line["epochs"] == 3)


@needs_jax
def test_steps_that_are_faster_than_measured_give_all_epochs(load, tiny, tmp_path, monkeypatch):
    train = load("gpu_train")
    monkeypatch.setattr(train.Job, "seconds_a_step", lambda *_: 30.0)
    assert train.main(tiny("faster", "--rates", "0.03", "--grids", "0")) == 0
    (planned,) = [line for line in lines(tmp_path / "faster") if "steps" in line and "rate" in line]
    assert planned["epochs"] < 3
    assert presets.metadata(tmp_path / "faster" / "preset")["results"]["epochs"] == 6


@needs_jax
def test_training_ends_after_a_call_that_takes_too_long(load, tiny, tmp_path, monkeypatch):
    train, programs = load("gpu_train"), load("gpu.programs")
    clock, steps = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now), programs.steps
    durations = iter([40, 40, 40, 40, 1000])  # The first two are to measure the speed.

    def timed(*arguments):
        program = steps(*arguments)

        def call(*given):
            clock.now += next(durations)
            return program(*given)

        return call

    monkeypatch.setattr(programs, "steps", timed)
    monkeypatch.setattr(train, "time", clock)
    assert train.main(tiny("late", "--rates", "0.03", "--grids", "0")) == 0
    (planned,) = [line for line in lines(tmp_path / "late") if "rate" in line and "steps" in line]
    (done,) = [line for line in lines(tmp_path / "late") if "steps_done" in line]
    assert (planned["steps"], done["steps_done"], done["of"], done["late"]) == (36, 12, 36, True)


@needs_jax
def test_a_job_waits_for_images(load, tiny, tmp_path, monkeypatch):
    train, arrays = load("gpu_train"), load("gpu.arrays")
    complete = tmp_path / arrays.COMPLETE
    x_train = np.load(tmp_path / "x_train.npy")
    np.save(tmp_path / "x_train.npy", np.zeros_like(x_train))
    complete.unlink()

    def unpack(seconds):
        np.save(tmp_path / "x_train.npy", x_train)
        complete.touch()

    monkeypatch.setattr(arrays.time, "sleep", unpack)
    options = ("--rates", "0.03", "--grids", "0")
    assert train.main(tiny("waited", *options, "--wait", "60")) == 0
    assert train.main(tiny("there", *options)) == 0
    weights = [presets.load(tmp_path / out / "preset").get_weights() for out in ("waited", "there")]
    for waited, there in zip(*weights, strict=True):
        np.testing.assert_array_equal(waited, there)
    complete.unlink()
    assert train.main(tiny("never", *options)) == 2
