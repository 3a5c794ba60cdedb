"""`scripts/figures.py` draws every figure, from the preset that comes with the package."""

import numpy as np
import pytest
from PIL import Image

from keras_coda import presets, reports


@pytest.fixture
def figures(load):
    return load("figures")


def colours(path):
    """The number of colours of a picture. Raises an error if it is no picture."""
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("figure", "options"),
    [
        ("2", ()),
        ("4", ("--preset", "xs_coda_digits", "xs_coda_digits")),
        ("5", ()),
        ("7", ("--grid-size", "3")),
        ("8", ("--methods", "contributions", "occlusion_5", "grad_cam")),
        ("cover", ()),
        ("sanity", ("--methods", "contributions", "grad_cam", "--images", "2")),
    ],
)
def test_figures_of_a_preset(figures, figure, options, tmp_path, capsys):
    assert figures.main(["--figure", figure, "--out", str(tmp_path), *options]) == 0
    path = tmp_path / f"figure_{figure}.png"
    assert capsys.readouterr().out.endswith(f"{path}\n")
    assert colours(path) > 50


def test_figure_3_finds_the_digits(figures, tmp_path, capsys):
    options = [
        "--dataset",
        "digits",
        "--samples",
        "512",
        "--epochs",
        "100",
        "--noise",
        "0.05",
        "--learning-rate",
        "0.03",
    ]
    assert figures.main(["--figure", "3", "--out", str(tmp_path), *options]) == 0
    found = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines() if "similarity" in line]
    assert len(found) == 3
    assert min(found) > 0.9
    assert colours(tmp_path / "figure_3.png") > 50


@pytest.mark.one_backend
def test_figure_6_draws_evaluations_by_method_and_by_temperature(figures, tmp_path):
    subject = reports.Subject.load("xs_coda_digits")
    methods = reports.methods_of(subject.model, ["contributions", "grad_cam"])
    settings = {"grids": 2, "removed": 2, "points": 3, "shown": 1, "verbose": 0}
    reports.evaluate(subject, tmp_path / "one", methods, **settings)
    one, two = tmp_path / "figures", tmp_path / "both"
    results = str(tmp_path / "one")
    assert figures.main(["--figure", "6", "--results", results, "--out", str(one)]) == 0
    assert figures.main(["--figure", "6", "--results", results, results, "--out", str(two)]) == 0
    widths = []
    for folder in (one, two):
        with Image.open(folder / "figure_6.png") as image:
            widths.append(image.width)
    assert widths[1] == 2 * widths[0]


@pytest.mark.one_backend
def test_wrong_input_is_one_line(figures, tmp_path, capsys):
    for options, expected in (
        (["--figure", "6"], "Figure 6 needs --results"),
        (["--figure", "5", "--preset", "nonsense"], "Unknown preset 'nonsense'"),
        (["--figure", "5", "--dataset", "nonsense"], "No data set 'nonsense'"),
        (["--figure", "7", "--grid-size", "4"], "4 x 4 grids have 16 cells"),
        (["--figure", "8", "--methods", "magic"], "Received: magic"),
        (["--figure", "6", "--results", str(tmp_path)], "Expected a directory with results.csv"),
    ):
        assert figures.main([*options, "--out", str(tmp_path / "out")]) == 2
        printed = capsys.readouterr().err.splitlines()
        assert expected in printed[-1]
        assert "Traceback" not in "".join(printed)
    assert not (tmp_path / "out").exists()


def test_a_subject_is_of_its_presets_data():
    subject = reports.Subject.load("xs_coda_digits")
    assert len(subject.images) == 360
    assert subject.temperature == 1000
    assert np.mean(subject.correct) == pytest.approx(presets.metadata("xs_coda_digits")["results"]["test_accuracy"])
    best = subject.most_confident()
    assert len(set(subject.labels[best])) == len(best) == 10
    assert subject.correct[best].all()
    for index in best:
        others = subject.correct & (subject.labels == subject.labels[index])
        assert subject.of_label[index] == subject.of_label[others].max()
