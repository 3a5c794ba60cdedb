"""An evaluation writes its scores, their conditions and a self-contained page, and can be resumed."""

import contextlib
import html.parser
import itertools
import json
import types

import keras
import numpy as np
import pandas as pd
import PIL.Image
import pytest

import keras_coda
from keras_coda import attributions, data, metrics, presets, reports

METHODS = ("contributions", "grad_cam")
NAMES = {"contributions": "contributions", "grad_cam": "Grad-CAM"}
SMALL = {"grids": 2, "removed": 4, "points": 3, "sanity": 2, "shown": 2, "verbose": 0}


class Reader(html.parser.HTMLParser):
    """Tables and addresses of a page. All tags must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tables, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += text


def digits(count=40):
    whole = data.load("digits")
    return whole._replace(x_test=whole.x_test[:count], y_test=whole.y_test[:count])


@pytest.fixture(scope="module")
def subject():
    return reports.Subject(presets.load("xs_coda_digits"), digits(), "digits <net>")


@pytest.fixture(scope="module")
def folder(subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    reports.evaluate(subject, folder, reports.methods_of(subject.model, METHODS), **SMALL)
    return folder


@pytest.mark.one_backend
def test_the_page_is_whole_and_refers_to_nothing_outside(folder):
    page = Reader((folder / reports.REPORT).read_text(encoding="utf-8"))
    assert len(page.addresses) == 5
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "How well attributions explain digits <net>" in page.text
    assert "<net>" not in (folder / reports.REPORT).read_text(encoding="utf-8")


@pytest.mark.one_backend
def test_the_tables_of_the_page_are_those_of_the_scores(folder):
    page = Reader((folder / reports.REPORT).read_text(encoding="utf-8"))
    summary = metrics.Results.load(folder).summary()
    facts, localisation, removal = page.tables
    assert ["model", "digits <net>"] in facts
    assert ["images in a grid", "9"] in facts
    for table, metric, counted in ((localisation, "localisation", "2"), (removal, "removal_least_first", "4")):
        expected = summary[summary["metric"] == metric].sort_values("mean", ascending=False)
        assert [row[:2] for row in table[1:]] == [[NAMES[r.method], f"{r.mean:.4f}"] for r in expected.itertuples()]
        intervals = [f"{r.low:.4f} to {r.high:.4f}" for r in expected.itertuples()]
        assert [row[2:4] for row in table[1:]] == [[interval, counted] for interval in intervals]
        for row, seconds in zip(table[1:], expected["seconds"], strict=True):
            number, unit = row[4].split()
            assert float(number) * {"s": 1, "ms": 1e-3}[unit] == pytest.approx(seconds, rel=0.01, abs=1e-4)


@pytest.mark.one_backend
def test_what_is_measured_is_what_the_metrics_measure(subject, folder, tmp_path):
    methods = reports.methods_of(subject.model, METHODS)
    expected = metrics.measure(
        subject.model, subject.images, subject.labels, methods, tmp_path, grids=2, removed=4, points=3, verbose=0
    )
    evaluation = reports.Evaluation.load(folder)
    kept = ["metric", "method", "item", "target", "score"]
    assert evaluation.results.table[kept].equals(expected.table[kept])
    assert evaluation.metrics == ["localisation", "removal_least_first"]
    assert evaluation.chance == pytest.approx(1 / 9)
    assert list(evaluation.localisation()) == ["contributions", "grad_cam"]
    assert evaluation.localisation()["grad_cam"].shape == (18,)
    curve = evaluation.curves("removal_least_first")["grad_cam"]
    assert curve.equals(expected.curve("removal_least_first", "grad_cam"))
    independent = evaluation.sanity.query("method == 'grad_cam' and mode == 'independent' and step > 0")
    direct = metrics.sanity_check(
        subject.model, attributions.GradCAM, subject.images[:2], subject.labels[:2], "independent"
    ).query("step > 0")
    np.testing.assert_allclose(independent["ssim"], direct["ssim"], atol=1e-4)


@pytest.mark.one_backend
def test_what_is_measured_is_for_the_presets_metadata(subject, folder):
    evaluation = reports.Evaluation.load(folder)
    results = evaluation.preset_results()
    model = presets.load("xs_coda_digits")
    outputs = model.predict(subject.images, verbose=0)
    ranks = (outputs > np.take_along_axis(outputs, subject.labels[:, np.newaxis], 1)).sum(1)
    grids = metrics.make_grids(model, subject.images, subject.labels, count=2)
    maps = attributions.Contributions(model).maps(grids.images, grids.targets)
    assert results.pop("localisation") == pytest.approx(metrics.localisation(maps, 3).mean(), rel=1e-4)
    curve = evaluation.curves("removal_least_first")["contributions"]
    assert results.pop("removal") == pytest.approx(np.trapezoid(curve["mean"], np.linspace(0, 1, 3)), rel=1e-4)
    assert results == {
        "test_images": 40,
        "test_accuracy": np.mean(ranks == 0),
        "test_top_5_accuracy": np.mean(ranks < 5),
        "localisation_grids": 2,
        "localisation_images_a_grid": 9,
        "removal_images": 4,
        "removal_percent_of_pixels": 25,
    }


def test_the_top_accuracy_is_that_of_ranks(rng):
    """A network that is often wrong: its labels have all ranks."""
    model = presets.load("xs_coda_digits", load_weights=False)
    subject = reports.Subject(model, digits(100)._replace(y_test=rng.integers(0, 10, 100)))
    ranks = (subject.outputs > subject.of_label[:, np.newaxis]).sum(1)
    for k in (1, 5, 9):
        assert 0 < np.mean(ranks < k) < 1
        assert subject.top_accuracy(k) == pytest.approx(np.mean(ranks < k))


@pytest.mark.one_backend
def test_an_evaluation_goes_on_and_takes_further_methods(subject, folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("pieces/*")}
    methods = reports.methods_of(subject.model, [*METHODS, "occlusion_5"])
    evaluation = reports.evaluate(subject, folder, methods, **SMALL)
    assert set(evaluation.localisation()) == {*METHODS, "occlusion_5"}
    assert set(evaluation.sanity["method"]) == {*METHODS, "occlusion_5"}
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.one_backend
def test_the_facts_of_the_sanity_check_are_what_was_done(tmp_path, monkeypatch):
    subject = reports.Subject(cnn(), digits(3))
    methods = reports.methods_of(subject.model, ["gradient"])
    settings = {
        "metrics": ["deletion"],
        "removed": 1,
        "points": 3,
        "shown": 0,
        "verbose": 0,
        "seed": 5,
        "fraction": 0.5,
    }
    summary, calls = metrics.Results.summary, []
    monkeypatch.setattr(metrics.Results, "summary", lambda self: calls.append(1) or summary(self))
    evaluation = reports.evaluate(subject, tmp_path, methods, sanity=64, **settings)
    assert evaluation.facts["images of the sanity check"] == 3
    assert evaluation.facts["part of the pixels removed"] == 0.5
    assert evaluation.sanity["image"].nunique() == 3
    gradient, mode = methods["gradient"], "independent"
    direct = metrics.sanity_check(subject.model, gradient, subject.images, subject.labels, mode, seed=5)
    np.testing.assert_allclose(evaluation.sanity.query("mode == @mode")["ssim"], direct["ssim"], atol=1e-4)
    evaluation.preset_results()
    assert calls == [1]  # its intervals take seconds

    # Both before anything is measured.
    monkeypatch.setattr(metrics, "measure", None)
    with pytest.raises(ValueError, match=r"`sanity` must be a number of images, 0 or more\. Received: -1"):
        reports.evaluate(subject, tmp_path, methods, sanity=-1, **settings)
    with pytest.raises(ValueError, match="other settings"):
        reports.evaluate(subject, tmp_path, methods, sanity=2, **settings)


@pytest.mark.one_backend
def test_an_evaluation_that_is_refused_leaves_no_folder_of_a_sanity_check(tmp_path):
    subject = reports.Subject(cnn(), digits(2))
    methods = {"a": attributions.Gradient}
    settings = {"metrics": ["deletion"], "removed": 1, "shown": 0, "verbose": 0}
    reports.evaluate(subject, tmp_path, methods, points=3, **settings)
    with pytest.raises(ValueError, match="other settings"):
        reports.evaluate(subject, tmp_path, methods, points=4, sanity=1, **settings)
    assert not (tmp_path / "sanity").exists()
    with pytest.raises(ValueError, match="`methods` must be a dict"):
        reports.evaluate(subject, tmp_path, {}, points=3, sanity=1, **settings)
    assert not (tmp_path / "sanity").exists()
    assert reports.evaluate(subject, tmp_path, methods, points=3, sanity=1, **settings).sanity is not None


@pytest.mark.one_backend
def test_of_two_at_a_time_in_one_folder_the_second_is_refused(tmp_path):
    """Also when all scores are measured, and the sanity check or the report is not."""
    pytest.importorskip("fcntl")
    subject = reports.Subject(cnn(), digits(2))
    settings = {"metrics": ["deletion"], "removed": 1, "points": 3, "shown": 0, "verbose": 0}
    refused = []

    def method(model):
        if model is not subject.model:
            with pytest.raises(ValueError, match="Another evaluation writes to"):
                reports.evaluate(subject, tmp_path, {"b": attributions.Gradient}, **settings)
            refused.append(model)
        return attributions.Gradient(model)

    evaluation = reports.evaluate(subject, tmp_path, {"a": method}, sanity=1, **settings)
    assert len(refused) == 2
    assert list(reports.Evaluation.load(tmp_path).results.table["method"].unique()) == ["a"]
    assert evaluation.sanity is not None
    assert not [path.name for path in tmp_path.rglob("*lock")]


@pytest.mark.one_backend
def test_names_in_a_sanity_check_stay_as_they_are(tmp_path):
    names, layers = ["null", "1", "NA"], ["original", "nan", "2"]
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(2, 3, name="2")])
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10, name="nan"))
    methods = dict.fromkeys(names, attributions.Gradient)
    settings = {"metrics": ["deletion"], "removed": 1, "points": 3, "shown": 0, "verbose": 0}
    evaluation = reports.evaluate(reports.Subject(model, digits(2)), tmp_path, methods, sanity=1, **settings)
    for table in (evaluation.sanity, reports.Evaluation.load(tmp_path).sanity):
        assert list(table["method"].unique()) == names
        assert list(table["layer"].unique()) == layers
        assert not table.isna().any(axis=None)


@pytest.mark.one_backend
def test_an_evaluation_without_a_sanity_check_has_none_of_a_former_one(tmp_path):
    subject = reports.Subject(cnn(), digits(2))
    settings = {"metrics": ["deletion"], "removed": 1, "points": 3, "shown": 0, "verbose": 0}
    reports.evaluate(subject, tmp_path, {"a": attributions.Gradient}, sanity=1, **settings)
    assert list(reports.Evaluation.load(tmp_path).sanity["method"].unique()) == ["a"]
    assert reports.evaluate(subject, tmp_path, {"b": attributions.Gradient}, **settings).sanity is None
    assert reports.Evaluation.load(tmp_path).sanity is None


@pytest.mark.one_backend
def test_published_scores_stand_beside_the_measured_ones(subject, folder, tmp_path):
    box = {"mean": 0.4321, "median": 0.4, "q25": 0.3, "q75": 0.5}
    content = {
        "source": "A paper.",
        "localisation": {
            "protocol": "3 x 3 grids",
            "temperature_1000": {"grad_cam": box, "contributions": box},
            "own_maps_by_temperature": {"10": box},
        },
        "pixel_removal": {
            "protocol": "least first",
            "temperature_1000": {"grad_cam": [1.0, 0.75, 0.5]},
            "own_maps_by_temperature": {"10": [1.0, 0.9]},
        },
    }
    path = tmp_path / "published.json"
    path.write_text(json.dumps(content))
    methods = reports.methods_of(subject.model, METHODS)
    reports.evaluate(subject, folder, methods, **SMALL, published=reports.Published(path))
    _, localisation, removal = Reader((folder / reports.REPORT).read_text(encoding="utf-8")).tables
    assert {row[0]: row[-1] for row in localisation} == {
        "method": "published for T = 1000",
        "contributions": "0.4321",  # which are of no post-hoc method
        "Grad-CAM": "0.4321 *",
    }
    assert {row[0]: row[-1] for row in removal} == {
        "method": "published for T = 1000",
        "contributions": "",
        "Grad-CAM": "0.7500 *",
    }
    note = reports.report.OTHER_DEFINITION
    assert note in "".join(Reader((folder / reports.REPORT).read_text(encoding="utf-8")).text)
    # With the definition of the published scores nothing is marked.
    methods = reports.methods_of(subject.model, METHODS, definition="paper_code")
    reports.evaluate(subject, tmp_path / "theirs", methods, **SMALL, published=reports.Published(path))
    page = Reader((tmp_path / "theirs" / reports.REPORT).read_text(encoding="utf-8"))
    assert note not in "".join(page.text)
    _, localisation, removal = page.tables
    assert [{row[0]: row[-1] for row in table}["Grad-CAM"] for table in (localisation, removal)] == [
        "0.4321",
        "0.7500",
    ]
    for broken in ({**content, "pixel_removal": {}}, {**content, "source": None}["localisation"], []):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=r"published\.json is no JSON file of published scores"):
            reports.Published(path)


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "wrong",
    [
        {"curve": 0.5},
        {"curve": "0.5"},
        {"curve": []},
        {"curve": [[0.5, 0.4]]},
        {"curve": ["0.5"]},
        {"curve": [float("nan")]},
        {"mean": "0.5"},
        {"mean": [0.5]},
        {"source": None},
        {"protocol": 1},
    ],
    ids=str,
)
def test_published_scores_that_cannot_be_drawn_are_refused(tmp_path, wrong):
    def content(curve=(0.5, 0.4), mean=0.5, source="a paper", protocol="as there"):
        box = {"mean": mean, "median": 0.5, "q25": 0.4, "q75": 0.6}
        sections = {"localisation": {"gradient": box}, "pixel_removal": {"gradient": curve}}
        others = {"protocol": protocol, "own_maps_by_temperature": {}}
        return {"source": source, **{name: {"temperature_1000": of, **others} for name, of in sections.items()}}

    path = tmp_path / "published.json"
    path.write_text(json.dumps(content()))
    reports.Published(path)
    path.write_text(json.dumps(content(**wrong)))
    with pytest.raises(ValueError, match=r"published\.json is no JSON file of published scores"):
        reports.Published(path)


def cnn(classes=10, channels=1):
    return keras.Sequential(
        [
            keras.Input((None, None, channels)),
            keras.layers.Conv2D(3, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes),
        ]
    )


@pytest.mark.one_backend
def test_the_dtype_of_the_report_is_that_of_the_model(tmp_path):
    low = reports.Subject(presets.load("xs_coda_digits", dtype="mixed_bfloat16"), digits(), "low")
    methods = reports.methods_of(low.model, ["contributions"])
    evaluation = reports.evaluate(low, tmp_path, methods, metrics=["deletion"], removed=2, points=2, shown=1, verbose=0)
    assert evaluation.facts["backend"] == f"{keras.backend.backend()}, bfloat16"


@pytest.mark.one_backend
def test_the_report_says_what_post_hoc_methods_explain(subject, tmp_path):
    plain = reports.Subject(cnn(), digits())
    settings = {"metrics": ["deletion"], "removed": 2, "points": 2, "shown": 0, "verbose": 0}
    for number, (of, definition, said) in enumerate(
        [(subject, "paper", "encoded"), (plain, "paper", "not encoded"), (plain, "paper_code", "image")]
    ):
        methods = reports.methods_of(of.model, ["gradient"], definition=definition)
        # A method of a user may have anything of this name.
        methods["model"] = lambda model: types.SimpleNamespace(input=[], maps=lambda x, t: x[..., 0])
        evaluation = reports.evaluate(of, tmp_path / str(number), methods, **settings)
        assert evaluation.facts["input of post-hoc methods"] == said
        assert evaluation.mark == ("" if said == "image" else " *")


@pytest.mark.one_backend
def test_methods_that_a_model_does_not_admit_are_left_out_unless_they_are_named(capsys):
    model = cnn()
    found = reports.methods_of(model)
    assert set(attributions.published("cifar10")) - set(found) == {"contributions"}
    assert "Left out: contributions." in capsys.readouterr().err
    with pytest.raises(ValueError, match="activation"):
        reports.methods_of(model, ["contributions"])
    with pytest.raises(ValueError, match=r"Expected methods from contributions, .*Received: grad"):
        reports.methods_of(model, ["grad"])
    assert "occlusion_13" in reports.methods_of(model, ["occlusion_13"], "tinyimagenet")


def test_a_saved_model_of_other_layers_is_evaluated(tmp_path):
    path = tmp_path / "cnn.keras"
    cnn().save(path)
    subject = reports.Subject.load(path, "digits")
    assert subject.name == "cnn"
    assert subject.temperature is None
    methods = reports.methods_of(subject.model, ["occlusion_5", "grad_cam"])
    evaluation = reports.evaluate(
        subject, tmp_path / "out", methods, metrics=["deletion", "insertion"], removed=3, points=3, shown=1, verbose=0
    )
    assert evaluation.metrics == ["insertion", "deletion"]
    assert set(evaluation.preset_results()) == {"test_images", "test_accuracy", "test_top_5_accuracy"}
    assert subject.folder is None
    assert (tmp_path / "out" / reports.REPORT).exists()
    with pytest.raises(ValueError, match="does not say what data it is for"):
        reports.Subject.load(path)
    with pytest.raises(ValueError, match=r"data set of the 9 classes of model 'cnn9'\. Received: one of 10"):
        reports.Subject(cnn(9), digits(), "cnn9")


@pytest.mark.one_backend
def test_photos_for_a_saved_model_have_its_classes_and_its_size(tmp_path):
    """As for a preset. By default photos of 64 pixels keep their size, and classes are in alphabetical order."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), "uint8")
    for name, of_class in zip(("blue", "red"), pixels, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, image in enumerate(of_class):
            PIL.Image.fromarray(image).save(tmp_path / "photos" / name / f"{number}.png")
    model = keras_coda.CoDANet([2], [3], [2], [1], 1.0, image_shape=(None, None, 3), image_size=(8, 8))
    for model.class_names, error in (None, None), (["blue", "red"], None), (["red", "blue"], "must have the classes"):
        model.save(tmp_path / "model.keras")
        with contextlib.nullcontext() if error is None else pytest.raises(ValueError, match=error):
            subject = reports.Subject.load(tmp_path / "model.keras", tmp_path / "photos")
            assert subject.images.shape[1:] == (8, 8, 3)


@pytest.mark.one_backend
def test_models_of_the_unit_range_get_images_in_it(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    pixels, labels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), "uint8"), np.array([0, 1, 0, 1, 1, 0])
    np.savez(tmp_path / "data.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    npz = str(tmp_path / "data.npz")
    folder = presets.save(model, tmp_path / "preset", classes=["0", "1"], dataset=npz)
    want = model.predict(pixels / np.float32(255), verbose=0)
    for subject in (
        reports.Subject.load(tmp_path / "model.keras", npz, unit_range=True),
        reports.Subject.load(folder),
    ):
        np.testing.assert_allclose(subject.outputs, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(reports.Subject.load(tmp_path / "model.keras", npz).images, pixels)


def test_the_outputs_follow_the_model():
    """They are kept while it stays as it is, with its weights and its settings."""
    model = presets.load("xs_coda_digits")
    subject = reports.Subject(model, digits())
    seen = []

    def check():
        seen.append(subject.outputs)
        want = model.predict(subject.images, verbose=0)
        np.testing.assert_allclose(seen[-1], want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
        assert subject.outputs is seen[-1]

    check()
    model.set_weights([np.roll(weights, 1) for weights in model.get_weights()])
    check()
    model.temperature = 10 * model.temperature
    check()
    assert all(abs(one - other).max() > 1e-3 for one, other in itertools.pairwise(seen))


def test_the_outputs_are_those_for_the_images_as_the_classifier_takes_them():
    """A CoDA-Net in another model, which does not divide integers itself."""
    net = presets.load("xs_coda_digits")
    wrapped = keras.Sequential([keras.Input((16, 16, 1)), net])
    images = np.round(255 * digits().x_test / digits().x_test.max()).astype("uint8")
    subject = reports.Subject(wrapped, digits()._replace(x_test=images))
    np.testing.assert_allclose(subject.outputs, net.predict(images / np.float32(255), verbose=0), rtol=1e-4, atol=1e-4)


@pytest.mark.one_backend
def test_examples_have_the_maps_and_the_names_of_their_own_classes(subject):
    def maps(images, targets):
        """Each map is full of its target."""
        return np.broadcast_to(np.asarray(targets)[..., None, None], (*targets.shape, *images.shape[1:3]))

    found = reports.examples.make(subject, {"told": types.SimpleNamespace(maps=maps)}, 2, 2)
    best = subject.most_confident()
    labels = subject.labels[best]
    assert subject.labels[:4].tolist() != labels[:4].tolist()
    np.testing.assert_array_equal(found.images, subject.images[best[:2]])
    np.testing.assert_array_equal(found.maps["told"][:, 0, 0], labels[:2])
    assert found.titles == [subject.classes[label] for label in labels[:2]]
    cells = [found.grid[row : row + 16, column : column + 16] for row in (0, 16) for column in (0, 16)]
    np.testing.assert_array_equal(cells, subject.images[best[:4]])
    np.testing.assert_array_equal(found.grid_maps["told"][:, 0, 0], labels[:4])
    assert found.grid_titles == [subject.classes[label] for label in labels[:4]]


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("metric", "best", "item"),
    [
        ("localisation", "b", "a grid"),
        ("removal_least_first", "b", "an image"),
        ("removal_most_first", "a", "an image"),
        ("insertion", "b", "an image"),
        ("deletion", "a", "an image"),
    ],
)
def test_the_best_method_comes_first(metric, best, item):
    numbers = {"method": ["a", "b"], "mean": [0.25, 0.75], "low": [0.125, 0.5], "high": [0.5, 0.875]}
    summary = pd.DataFrame({"metric": metric, **numbers, "seconds": [0.0125, 2.5]})
    heading, *lines = reports.summary_lines(summary)
    assert heading == f"{metric}:"
    wanted = {"a": f"a 0.2500 [0.1250, 0.5000] 12.5 ms {item}", "b": f"b 0.7500 [0.5000, 0.8750] 2.50 s {item}"}
    assert [" ".join(line.split()) for line in lines] == [wanted.pop(best), *wanted.values()]


@pytest.mark.one_backend
def test_images_that_are_ordered_by_class_are_mixed():
    whole = digits(100)
    order = np.argsort(whole.y_test, kind="stable")
    # NumPy's differences of unsigned integers are never negative.
    for labels in (whole.y_test, whole.y_test.astype("uint8")):
        shuffled = reports.Subject(cnn(), whole._replace(y_test=labels))
        np.testing.assert_array_equal(shuffled.images, whole.x_test)
        np.testing.assert_array_equal(shuffled.labels, labels)
    by_class = whole._replace(x_test=whole.x_test[order], y_test=whole.y_test[order])
    one, again = reports.Subject(cnn(), by_class), reports.Subject(cnn(), by_class)
    np.testing.assert_array_equal(one.images, again.images)
    assert len(np.unique(one.labels[:20])) > 5
    label_of = {image.tobytes(): label for image, label in zip(by_class.x_test, by_class.y_test, strict=True)}
    assert [label_of[image.tobytes()] for image in one.images] == list(one.labels)
    assert sorted(image.tobytes() for image in one.images) == sorted(image.tobytes() for image in by_class.x_test)


@pytest.mark.one_backend
def test_the_most_confident_of_a_softmax_have_the_highest_probability():
    channels = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, use_bias=False)]
    )
    channels.set_weights([np.eye(3, dtype="float32")])
    # The logits of three images. The first has the largest logit, and a lower probability than the second.
    pixels = np.array([[9, 8.5, 0], [5, 0, 0], [0, 2, 1]], "float32")[:, np.newaxis, np.newaxis]
    labels = np.array([0, 0, 1])
    images = data.Dataset(pixels, labels, pixels[[2, 0, 1]], labels[[2, 0, 1]], ["a", "b", "c"])
    np.testing.assert_array_equal(reports.Subject(channels, images).most_confident(), [2, 0])


@pytest.mark.one_backend
@pytest.mark.parametrize("without", ["shown", "right", "channels", "range"])
def test_a_page_without_examples(tmp_path, without):
    model = cnn(channels=2 if without == "channels" else 1)
    whole = digits(6)
    images = np.repeat(whole.x_test, 2, axis=-1) if without == "channels" else whole.x_test
    images = images * np.float32(9) - 4 if without == "range" else images
    predicted = model.predict(images, verbose=0).argmax(-1)
    labels = (predicted + 1) % 10 if without == "right" else predicted
    subject = reports.Subject(model, whole._replace(x_test=images, y_test=labels))
    reports.evaluate(
        subject,
        tmp_path,
        reports.methods_of(model, ["grad_cam"]),
        metrics=["deletion"],
        removed=2,
        points=3,
        shown=0 if without == "shown" else 2,
        verbose=0,
    )
    page = (tmp_path / reports.REPORT).read_text(encoding="utf-8")
    assert "Deletion" in page
    assert "Example maps" not in page


@pytest.mark.one_backend
def test_layers_of_one_name_in_nested_models_are_steps_of_their_own():
    layers, values = ["original", "conv", "dense", "conv"], [1.0, 0.75, 0.5, 0.25]
    table = pd.DataFrame({"step": range(4), "layer": layers, **dict.fromkeys(reports.report.SIMILARITIES, values)})
    figure = reports.report.plot_sanity(table.assign(mode="cascading", method="gradient", image=0))
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == layers
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), values)


@pytest.mark.one_backend
def test_a_folder_that_holds_no_evaluation_is_refused(tmp_path, folder):
    with pytest.raises(ValueError, match="Expected a directory with results"):
        reports.Evaluation.load(tmp_path)
    (tmp_path / "results.csv").write_bytes((folder / "results.csv").read_bytes())
    with pytest.raises(ValueError, match="Expected a folder that `keras-coda evaluate` left"):
        reports.Evaluation.load(tmp_path)
