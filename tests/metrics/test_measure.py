import functools
import inspect
import itertools

import keras
import numpy as np
import pandas as pd
import pytest
from colour_model import CLASSES, colour_images, colour_model

from keras_coda import metrics
from keras_coda.attributions import RISE, Classifier, InputXGradient, Saliency
from keras_coda.metrics import pieces

EVERY_METRIC = ("localisation", "removal_least_first", "removal_most_first", "insertion", "deletion")
SETTINGS = {"grid_size": 2, "grids": 5, "removed": 7, "points": 4, "piece": 2, "batch_size": 4, "verbose": 0}


class Method:
    """Made-up maps that depend on the images and targets, of which the calls are counted.

    Args:
        name: the number by which it is known.
        fails_at: the number of the call that fails, as if the computer did.
        value: put into the map of call number `fails_at`, instead of failing.
    """

    def __init__(self, name=0, fails_at=None, value=None):
        self.name = name
        self._fails_at, self._value = fails_at, value
        self._calls = []

    def __call__(self, model):
        return self

    @property
    def calls(self):
        return len(self._calls)

    def maps(self, images, targets):
        self._calls.append((images, targets))
        targets = np.asarray(targets)
        several = targets if targets.ndim == 2 else targets[:, np.newaxis]
        maps = np.stack(
            [
                [np.roll(image.sum(-1), t + self.name) - 2 for t in row]
                for image, row in zip(images, several, strict=True)
            ]
        )
        if self.calls == self._fails_at:
            if self._value is None:
                raise KeyboardInterrupt
            maps[0, 0, 1, 1] = self._value
        return maps if targets.ndim == 2 else maps[:, 0]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.arange(24) % CLASSES
    images = colour_images(labels, rng.uniform(3, 6, 24)) + rng.uniform(0, 0.5, (24, 2, 3, CLASSES))
    return images.astype("float32"), labels


@pytest.fixture(scope="module")
def model():
    return colour_model()


def scores(results):
    return results.table.drop(columns="seconds")


class TestEvaluate:
    def test_is_what_the_metrics_are(self, tmp_path, model, data):
        images, labels = data
        results = metrics.measure(model, *data, {"ixg": InputXGradient}, tmp_path, metrics=EVERY_METRIC, **SETTINGS)
        method = InputXGradient(model)
        grids = metrics.make_grids(model, *data, size=2, count=5)
        maps = method.maps(images[:7], labels[:7])
        arguments = (model, images[:7], labels[:7], maps)
        expected = {
            "localisation": metrics.localisation(method.maps(grids.images, grids.targets), 2),
            "removal_least_first": metrics.pixel_removal(*arguments, points=4),
            "removal_most_first": metrics.pixel_removal(*arguments, most_important_first=True, points=4),
            "insertion": metrics.insertion(*arguments, points=4),
            "deletion": metrics.deletion(*arguments, points=4),
        }
        assert list(results.table.columns) == ["metric", "method", "item", "target", "x", "score", "seconds"]
        assert set(results.table["metric"]) == set(EVERY_METRIC)
        assert (results.table["seconds"] > 0).all()
        for metric, wanted in expected.items():
            table = results.table[results.table["metric"] == metric]
            np.testing.assert_allclose(table["score"], wanted.ravel(), rtol=1e-5)
            np.testing.assert_array_equal(table["item"], np.repeat(np.arange(len(wanted)), wanted.shape[1]))
            if metric == "localisation":
                np.testing.assert_array_equal(table["target"], grids.targets.ravel())
                assert table["x"].isna().all()
            else:
                np.testing.assert_array_equal(table["target"], np.repeat(labels[:7], 4))
                end = 0.25 if metric.startswith("removal") else 1.0
                np.testing.assert_allclose(table["x"], np.tile(np.linspace(0, end, 4), 7), rtol=1e-6)
        loaded = metrics.Results.load(tmp_path)
        pd.testing.assert_frame_equal(loaded.table, results.table)
        assert len(results.summary()) == 5

    def test_settings_reach_the_metrics(self, tmp_path, model, data):
        settings = {**SETTINGS, "metrics": ("localisation", "insertion"), "sigma": 0.7, "seed": 3, "confidence": 0.975}
        with pytest.warns(UserWarning, match="Only . of 5 grids"):
            results = metrics.measure(model, *data, {"a": InputXGradient}, tmp_path, **settings)
        with pytest.warns(UserWarning, match="Only . of 5 grids"):
            grids = metrics.make_grids(model, *data, size=2, count=5, confidence=0.975, seed=3)
        images, labels = (array[:7] for array in data)
        maps = InputXGradient(model).maps(images, labels)
        insertion = metrics.insertion(model, images, labels, maps, points=4, sigma=0.7)
        tables = dict(iter(results.table.groupby("metric")))
        np.testing.assert_array_equal(tables["localisation"]["target"], grids.targets.ravel())
        np.testing.assert_allclose(tables["insertion"]["score"], insertion.ravel(), rtol=1e-5)

    @pytest.mark.one_backend
    def test_the_seconds_are_of_each_item(self, tmp_path, model, data, monkeypatch):
        """Also in the last piece, which is filled up to the size of the others."""
        monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
        results = metrics.measure(model, *data, {"a": Method()}, tmp_path, **SETTINGS)
        np.testing.assert_array_equal(results.table["seconds"], 0.5)

    def test_one_attribution_an_image_for_all_metrics(self, tmp_path, model, data):
        method = Method()
        metrics.measure(model, *data, {"a": method}, tmp_path, metrics=EVERY_METRIC, **SETTINGS)
        # Each with one more to be compiled: 5 grids and 7 images, two at a time.
        assert method.calls == (1 + 3) + (1 + 4)
        assert {len(images) for images, _ in method._calls} == {2}

    @pytest.mark.parametrize("interrupted_at", [1, 3, 7])
    def test_goes_on_where_it_was_interrupted(self, tmp_path, model, data, interrupted_at):
        whole = metrics.measure(model, *data, {"a": Method(), "b": Method(1)}, tmp_path / "whole", **SETTINGS)
        failing = {"a": Method(), "b": Method(1, fails_at=interrupted_at)}
        with pytest.raises(KeyboardInterrupt):
            metrics.measure(model, *data, failing, tmp_path / "parts", **SETTINGS)
        with pytest.raises(ValueError, match="of a finished evaluation"):
            metrics.Results.load(tmp_path / "parts")
        finished = sorted((tmp_path / "parts" / "pieces").iterdir())
        # The calls before the one that failed, but those that are not kept: the first of each kind of item.
        of_b = {1: 0, 3: 1, 7: 3 + 1}[interrupted_at]
        assert len(finished) == 7 + of_b
        written = [path.stat().st_mtime_ns for path in finished]

        again = {"a": Method(), "b": Method(1)}
        results = metrics.measure(model, *data, again, tmp_path / "parts", **SETTINGS)
        assert again["a"].calls == 0
        missing_grids, missing_images = 3 - min(of_b, 3), 4 - max(of_b - 3, 0)
        assert again["b"].calls == missing_grids + missing_images + (missing_grids > 0) + (missing_images > 0)
        assert [path.stat().st_mtime_ns for path in finished] == written
        pd.testing.assert_frame_equal(scores(results), scores(whole))

    def test_a_file_half_written_is_ignored(self, tmp_path, model, data, monkeypatch):
        whole = metrics.measure(model, *data, {"a": Method()}, tmp_path / "whole", **SETTINGS)

        def killed(source, target):
            if "pieces" in str(target):
                raise KeyboardInterrupt
            source.rename(target)

        with monkeypatch.context() as patched:
            patched.setattr("os.replace", killed)
            # After a kill -9 nothing cleans up.
            patched.setattr("pathlib.Path.unlink", lambda self, missing_ok: None)
            with pytest.raises(KeyboardInterrupt):
                metrics.measure(model, *data, {"a": Method()}, tmp_path / "parts", **SETTINGS)
        (leftover,) = (tmp_path / "parts" / "pieces").iterdir()
        leftover.write_text(leftover.read_text()[:26])
        results = metrics.measure(model, *data, {"a": Method()}, tmp_path / "parts", **SETTINGS)
        pd.testing.assert_frame_equal(scores(results), scores(whole))

    @pytest.mark.parametrize("damage", ["cut", "a digit", "a row less", "of others", "no checksum", "no text", "empty"])
    def test_a_damaged_piece_is_measured_anew(self, tmp_path, model, data, damage):
        whole = metrics.measure(model, *data, {"a": Method()}, tmp_path, **SETTINGS)
        first, other, *_ = sorted((tmp_path / "pieces").iterdir())
        text = first.read_text()
        lines = text.splitlines(keepends=True)
        damaged = {
            "cut": text[: len(text) // 2],
            "a digit": text.replace("0.", "1.", 1),
            "a row less": "".join(lines[:1] + lines[2:]),
            "of others": other.read_text(),
            "no checksum": "".join(lines[:-1]),
            "no text": "\udcff",
            "empty": "",
        }[damage]
        assert damaged != text
        first.write_text(damaged, errors="surrogateescape")
        again = Method()
        results = metrics.measure(model, *data, {"a": again}, tmp_path, **SETTINGS)
        pd.testing.assert_frame_equal(scores(results), scores(whole))
        assert again.calls == 2  # the piece, and the call that compiles

    @pytest.mark.parametrize("name", ["settings.json", "grids.csv"])
    @pytest.mark.parametrize("text", ["", "{", "[]", "\udcff", None])
    def test_damaged_settings_and_grids_are_named(self, tmp_path, model, data, name, text):
        metrics.measure(model, *data, {"a": Method()}, tmp_path, **SETTINGS)
        (tmp_path / name).unlink()
        if text is not None:
            (tmp_path / name).write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match=f"{name} is not as it was written.*Delete the folder"):
            metrics.measure(model, *data, {"a": Method()}, tmp_path, **SETTINGS)

    def test_methods_added_on_another_machine_get_the_same_grids(self, tmp_path, model, monkeypatch):
        labels = np.arange(24) % CLASSES
        # Images of a class are equally confident, so that the last digits of the outputs order them.
        images = colour_images(labels, np.full(24, 4.0))
        images[np.arange(24), np.arange(24) // 4 % 2, np.arange(24) // 8, (labels + 1) % CLASSES] = 0.5
        metrics.measure(model, images, labels, {"a": Method()}, tmp_path, **SETTINGS)
        exact = Classifier.outputs

        def of_another_machine(self, source, *args):
            outputs = exact(self, source, *args)
            return outputs * (1 + 1e-6 * np.random.default_rng(0).uniform(size=outputs.shape)).astype("float32")

        monkeypatch.setattr(Classifier, "outputs", of_another_machine)
        drawn = metrics.make_grids(model, images, labels, size=2, count=5).indices
        results = metrics.measure(model, images, labels, {"a": Method(), "b": Method()}, tmp_path, **SETTINGS)
        a, b = (scores(results)[results.table["method"] == name].drop(columns="method") for name in "ab")
        pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True))
        monkeypatch.undo()
        assert not np.array_equal(drawn, metrics.make_grids(model, images, labels, size=2, count=5).indices)

    def test_methods_can_be_added_and_changed(self, tmp_path, model, data):
        metrics.measure(model, *data, {"a": Method()}, tmp_path, **SETTINGS)
        again = {"a": Method(), "b / c": Method(1)}
        results = metrics.measure(model, *data, again, tmp_path, **SETTINGS)
        assert again["a"].calls == 0
        assert again["b / c"].calls > 0
        assert list(results.table["method"].unique()) == ["a", "b / c"]
        changed = Method(2)
        other = metrics.measure(model, *data, {"a": changed}, tmp_path, **SETTINGS)
        assert changed.calls > 0
        assert not np.array_equal(other.table["score"], results.table[results.table["method"] == "a"]["score"])

    @pytest.mark.one_backend
    def test_methods_may_have_any_name(self, tmp_path, model, data):
        names = ["NA", "nan", "null", "1"]
        results = metrics.measure(model, *data, {name: Method() for name in names}, tmp_path, **SETTINGS)
        assert list(results.table["method"].unique()) == names
        results = metrics.measure(model, *data, {"1": Method()}, tmp_path, **SETTINGS)
        assert list(results.table["method"].unique()) == ["1"]

    def test_refuses_to_go_on_with_other_settings(self, tmp_path, model, data):
        images, labels = data
        metrics.measure(model, images, labels, {"a": Method()}, tmp_path, **SETTINGS)
        for name, value in {"seed": 1, "points": 5, "confidence": 0.5001, "metrics": ["localisation"]}.items():
            with pytest.raises(ValueError, match=f"other settings.*Received: {{'{name}'"):
                metrics.measure(model, images, labels, {"a": Method()}, tmp_path, **{**SETTINGS, name: value})
        with pytest.raises(ValueError, match="'weights'"):
            metrics.measure(colour_model(scale=1.1), images, labels, {"a": Method()}, tmp_path, **SETTINGS)
        for others in ((images[:-1], labels[:-1]), (images, labels[::-1])):
            with pytest.raises(ValueError, match=r"Received: \{'images'"):
                metrics.measure(model, *others, {"a": Method()}, tmp_path, **SETTINGS)
        halved = keras.Model(model.inputs, keras.layers.Rescaling(0.5)(model.outputs[0]))
        with pytest.raises(ValueError, match=r"Received: \{'outputs'"):
            metrics.measure(halved, images, labels, {"a": Method()}, tmp_path, **SETTINGS)

    @pytest.mark.one_backend
    def test_of_two_at_a_time_in_one_folder_the_second_is_refused(self, tmp_path, model, data):
        """A second evaluation, of another model, starts before the first one has a piece."""
        pytest.importorskip("fcntl")

        class Meanwhile(Method):
            def maps(self, images, targets):
                if not self.calls:
                    with pytest.raises(ValueError, match="Another evaluation writes to"):
                        metrics.measure(other, *data, {"a": Method(), "b": Method()}, tmp_path / "two", **SETTINGS)
                return super().maps(images, targets)

        other = colour_model(scale=1.1)
        alone = metrics.measure(model, *data, {"a": Method(), "b": Method()}, tmp_path / "one", **SETTINGS)
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / ".lock").touch()  # as a killed process leaves it
        first = metrics.measure(model, *data, {"a": Meanwhile(), "b": Method()}, tmp_path / "two", **SETTINGS)
        pd.testing.assert_frame_equal(scores(first), scores(alone))
        assert {path.name for path in (tmp_path / "two").iterdir()} == {
            path.name for path in (tmp_path / "one").iterdir()
        }

    def test_takes_a_classifier(self, tmp_path, model, data):
        classifier = Classifier(model, activation="sigmoid")
        results = metrics.measure(classifier, *data, {"a": InputXGradient}, tmp_path, metrics=["deletion"], **SETTINGS)
        # Of zeros are left a logit of 0, and thus a probability of a half.
        np.testing.assert_allclose(results.table[results.table["x"] == 1]["score"], 0.5, rtol=1e-5)

    def test_names_the_method_that_gives_nan(self, tmp_path, model, data):
        methods = {"good": Method(), "bad": Method(1, fails_at=3, value=np.nan)}
        with pytest.raises(ValueError, match=r"Maps of method 'bad' for grids 2 to 3 must be finite"):
            metrics.measure(model, *data, methods, tmp_path, **SETTINGS)

    def test_names_the_method_whose_maps_have_another_size(self, tmp_path, model, data):
        class Smaller(Method):
            def maps(self, images, targets):
                return super().maps(images, targets)[..., 1:, :]

        smaller = Smaller()
        with pytest.raises(ValueError, match=r"Method 'small' must give .* grids' size, \(4, 6\)\..*\(2, 4, 3, 6\)"):
            metrics.measure(model, *data, {"small": smaller}, tmp_path, **SETTINGS)
        assert smaller.calls == 1

    def test_shows_progress(self, tmp_path, model, data, capsys):
        metrics.measure(model, *data, {"a": Method()}, tmp_path / "1", **{**SETTINGS, "verbose": 1})
        shown = capsys.readouterr().out
        assert "a: localisation" in shown
        assert "4/4" in shown
        metrics.measure(model, *data, {"a": Method()}, tmp_path / "2", **SETTINGS)
        assert not capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"metrics": ["other"]}, "`metrics` must be a list of"),
            ({"metrics": "deletion"}, "`metrics` must be a list of"),
            ({"metrics": []}, "`metrics` must be a list of"),
            ({"methods": {}}, "`methods` must be a dict"),
            ({"methods": {"a": 3}}, "`methods` must be a dict"),
            ({"removed": 0}, "`removed` must be an integer of at least 1"),
            ({"seed": -1}, "`seed` must be an integer of at least 0"),
            ({"seed": None}, "`seed` must be an integer of at least 0"),
            ({"model": colour_model((2, 3, CLASSES))}, "takes images of shape .* only"),
            ({"grid_size": 3}, "a model of 4 classes"),
        ],
        ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
    )
    def test_refuses(self, tmp_path, model, data, arguments, error):
        images, labels = data
        arguments = {"model": model, "methods": {"a": Method()}, **SETTINGS, **arguments}
        with pytest.raises(ValueError, match=error):
            metrics.measure(images=images, labels=labels, directory=tmp_path, **arguments)


def test_settings_of_methods_and_of_the_classifier_are_told_apart(model, data, tmp_path):
    images, labels = data
    two = [functools.partial(RISE, masks=2, **more) for more in ({}, {"activation": "linear"})]
    settings = {**SETTINGS, "metrics": ("deletion",)}
    for make in two:
        metrics.measure(model, images, labels, {"rise": make}, tmp_path / "a", **settings)
    assert len({path.name.split("_")[2] for path in (tmp_path / "a" / "pieces").iterdir()}) == 2
    with pytest.raises(ValueError, match="'activation': 'linear'"):
        metrics.measure(Classifier(model, "linear"), images, labels, {"rise": two[0]}, tmp_path / "a", **settings)
    other = Classifier(model, input="image")
    with pytest.raises(ValueError, match=r"Received: \{'input': 'image'\}"):
        metrics.measure(other, images, labels, {"rise": two[0]}, tmp_path / "a", **settings)


@pytest.mark.one_backend
def test_functions_of_one_name_dicts_of_settings_and_layers_are_told_apart(model, data, tmp_path):
    settings = {**SETTINGS, "metrics": ("deletion",)}
    functions = [lambda x: keras.ops.sigmoid(x), lambda x: keras.ops.sigmoid(x / 100)]
    methods = [functools.partial(RISE, masks=2, activation=function) for function in functions]
    for options in ({"number": 1}, {"number": 2}, *(keras.layers.ReLU(name=name) for name in ("a", "b", "a"))):
        method = Method()
        method.options = options
        methods.append(method)
    for make in methods:
        metrics.measure(model, *data, {"a": make}, tmp_path / "a", **settings)
    assert len({path.name.split("_")[2] for path in (tmp_path / "a" / "pieces").iterdir()}) == 6
    metrics.measure(Classifier(model, functions[0]), *data, {"a": Method()}, tmp_path / "b", **settings)
    with pytest.raises(ValueError, match=r"Received: \{'probabilities'"):
        metrics.measure(Classifier(model, functions[1]), *data, {"a": Method()}, tmp_path / "b", **settings)


@pytest.mark.one_backend
def test_methods_are_told_apart_by_their_class_and_not_by_their_batch_size(model, data, tmp_path):
    settings = {**SETTINGS, "metrics": ("deletion",)}
    for make in (InputXGradient, Saliency, functools.partial(Saliency, batch_size=3)):
        metrics.measure(model, *data, {"a": make}, tmp_path, **settings)
    assert len({path.name.split("_")[2] for path in (tmp_path / "pieces").iterdir()}) == 2


@pytest.mark.one_backend
def test_arrays_are_told_apart_by_their_shapes_and_dtypes():
    arrays = [np.zeros((2, 3), "float32"), np.zeros((3, 2), "float32"), np.zeros((2, 3), "int32")]
    assert len({pieces.digest([array]) for array in arrays}) == 3


@pytest.mark.one_backend
def test_the_defaults_are_those_of_the_metrics():
    protocol = metrics.Protocol()
    grids, removal, insertion = (
        {name: parameter.default for name, parameter in inspect.signature(metric).parameters.items()}
        for metric in (metrics.make_grids, metrics.pixel_removal, metrics.insertion)
    )
    assert (protocol.grid_size, protocol.grids) == (grids["size"], grids["count"])
    assert (protocol.confidence, protocol.seed) == (grids["confidence"], grids["seed"])
    assert (protocol.fraction, protocol.points) == (removal["fraction"], removal["points"])
    assert protocol.sigma == insertion["sigma"]
    assert protocol.removed == 1024


def test_takes_numbers_of_numpy_and_metrics_in_any_order(model, data, tmp_path):
    numbers = {**SETTINGS, "removed": np.int64(7), "seed": np.uint8(0), "fraction": np.float32(0.25)}
    reverse = {**SETTINGS, "metrics": metrics.Protocol().metrics[::-1]}
    for settings in (numbers, SETTINGS, reverse):
        metrics.measure(model, *data, {"a": Method()}, tmp_path, **settings)


@pytest.mark.parametrize(
    "wrong", [{"grids": 0}, {"grid_size": 1}, {"points": 1}, {"fraction": 0}, {"sigma": 0}, {"confidence": 1}]
)
def test_numbers_out_of_range_leave_no_folder(model, data, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`.*Received"):
        metrics.measure(model, *data, {"method": Method()}, tmp_path / "a", **{**SETTINGS, **wrong})
    assert not any(tmp_path.iterdir())


def test_a_folder_without_results_belongs_to_no_settings(model, data, tmp_path):
    class Fails(Method):
        def maps(self, images, targets):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        metrics.measure(model, *data, {"method": Fails()}, tmp_path, **SETTINGS)
    metrics.measure(model, *data, {"method": Method()}, tmp_path, **{**SETTINGS, "grids": 4})
