"""`scripts/benchmark.py` runs, and compares networks of equal shapes. No timing."""

import json

import keras
import numpy as np
import pytest

OPTIONS = ["--size", "custom", "--filters", "3,4", "--kernel-sizes", "3,1", "--ranks", "2,3", "--strides", "2,1"]
LAYOUT = {"filters": [3, 5, 4], "kernel_sizes": [3, 3, 1], "ranks": [2, 3, 3], "strides": [1, 2, 1], "temperature": 5.0}
IMAGE_SHAPE = (7, 7, 3)


def run(load, *options):
    """Run the benchmark on a tiny network, 6 x 6 images and batches of 2."""
    small = ["--image-size", "6", "--batch", "2", "--rounds", "1"]
    load("benchmark").main([*OPTIONS, *small, *options])


def test_materialised_weights_give_the_same_logits(load, rng):
    networks = load("benchmarks.networks")
    ours, materialised = (networks.BUILDERS[name](LAYOUT, IMAGE_SHAPE) for name in ("ours", "materialised"))
    materialised.set_weights(ours.get_weights())
    images = rng.random((3, *IMAGE_SHAPE)).astype("float32")
    np.testing.assert_allclose(materialised.predict_on_batch(images), ours.predict_on_batch(images), rtol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_the_floor_has_the_convolutions_that_are_counted(load, kernel_size):
    layout = {**LAYOUT, "kernel_sizes": [3, kernel_size, 1]}
    floor = load("benchmarks.networks").floor(layout, IMAGE_SHAPE)
    counts = load("benchmarks.counts")
    counted = counts.dau_layers(layout, IMAGE_SHAPE[0])
    assert counts.of_built_layers(floor) == [layer.convolutions for layer in counted]


def test_counts_of_a_layer(load):
    layer = load("benchmarks.counts").dau_layers(LAYOUT, IMAGE_SHAPE[0], "mixed_bfloat16")[1]
    positions, d, n, r = 4 * 4, 3 * 3 * 3, 5, 3
    assert (layer.positions, layer.d, layer.n, layer.r) == (positions, d, n, r)
    assert layer.convolutions == positions * (d * r + d * n * r + d * n)
    assert layer.weight_bytes == 4 * (d * r + d * n * r + d * n)
    assert layer.intermediate_bytes == 2 * positions * n * (r + 1)
    assert layer.dynamic_weight_bytes == 2 * positions * d * n
    # A layer that keeps its intermediate moves more bytes for the same multiply-adds.
    assert layer.intensity(8, keeps_intermediate=True) < layer.intensity(8, keeps_intermediate=False)


@pytest.mark.one_backend
def test_resnet56_has_its_published_cost(load):
    model = load("benchmarks.networks").build("resnet56", {"filters": [10]}, 32, None)
    assert model.output_shape == (None, 10)
    assert round(sum(load("benchmarks.counts").of_built_layers(model)) / 1e6) == 125


def test_runs(load, tmp_path, capsys):
    path = tmp_path / "results.json"
    run(load, "--models", "floor,materialised,ours", "--no-memory", "--layers", "--json", str(path))
    text = capsys.readouterr().out
    assert "explanation, all classes" in text
    assert "| 6 x 6 | 2 | materialised weights | " in text
    report = json.loads(path.read_text())
    measured = [(result["model"], result["job"]) for result in report["results"]]
    jobs = ["train", "inference"]
    assert measured == [
        *[("ours", job) for job in [*jobs, "explain", "explain-all"]],
        *[(name, job) for name in ("materialised", "floor") for job in jobs],
    ]
    assert all(result["images_a_second"] > 0 for result in report["results"])
    assert [layer["d"] for layer in report["layers"]] == [54, 3]
    assert report["command"].startswith(f"KERAS_BACKEND={keras.backend.backend()} ")


@pytest.mark.one_backend
def test_sweeps(load, capsys):
    run(load, "--models", "floor", "--jobs", "inference", "--no-memory", "--image-size", "4", "6", "--batch", "1", "2")
    text = capsys.readouterr().out
    assert all(f"| {size} x {size} | {batch} | plain" in text for size in (4, 6) for batch in (1, 2))


@pytest.mark.one_backend
def test_measures_memory_in_a_process_of_its_own(load, tmp_path):
    path = tmp_path / "results.json"
    run(load, "--models", "floor", "--jobs", "inference", "--json", str(path))
    (memory,) = json.loads(path.read_text())["memory"]
    assert 0 <= memory["before"] < memory["peak"]
    assert memory["compiled"] is None or 0 < memory["compiled"] <= memory["peak"]


@pytest.mark.one_backend
def test_leaves_out_what_does_not_fit_in_memory(load, capsys, monkeypatch):
    monkeypatch.setattr(load("benchmarks.machine"), "available_memory", lambda: 100)
    run(load, "--models", "materialised,floor", "--jobs", "train", "--no-memory")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 6 x 6")]
    assert ["needs about 0 GiB" in row for row in rows] == [True, False]
    assert ["failed" in row for row in rows] == [True, False]


@pytest.mark.one_backend
def test_goes_on_after_a_failure(load):
    calls = []

    def fail():
        calls.append("fail")
        raise RuntimeError("out of memory\nand more")

    seconds = load("benchmarks.measure").interleaved({"fails": fail, "works": lambda: calls.append("works")}, 2, 1)
    assert seconds["fails"] == "failed: RuntimeError: out of memory"
    assert len(seconds["works"]) == 2
    assert calls == ["fail", "works", "works", "works"]


@pytest.mark.one_backend
@pytest.mark.parametrize("options", [["--size", "custom"], ["--filters", "3,4"], ["--models", "alexnet"]])
def test_bad_options_are_an_error(load, options):
    with pytest.raises(SystemExit):
        load("benchmark").main(options)
