import warnings

import numpy as np
import pandas as pd
import pytest

from keras_coda import metrics


def table_of(metric, scores, method="some", x=np.nan, seconds=0.5):
    """A row for each of `scores` `(items, ...)`."""
    items, others = scores.shape
    return pd.DataFrame(
        {
            "metric": metric,
            "method": method,
            "item": np.repeat(np.arange(items), others),
            "target": 0,
            "x": np.broadcast_to(x, scores.shape).ravel(),
            "score": scores.ravel(),
            "seconds": seconds,
        }
    )


class TestResults:
    def test_summary_counts_an_item_once(self, rng):
        # The cells of a grid are alike, so that they do not make the mean any surer.
        of_grids = rng.normal(size=400)
        scores = np.tile(of_grids[:, np.newaxis], 9)
        (row,) = metrics.Results(table_of("localisation", scores)).summary().itertuples()
        assert (row.metric, row.method, row.count, row.seconds) == ("localisation", "some", 400, 0.5)
        np.testing.assert_allclose(row.mean, of_grids.mean())
        # What theory says of the mean of 400 normal numbers.
        half = 1.96 * of_grids.std() / 20
        np.testing.assert_allclose([row.low, row.high], [row.mean - half, row.mean + half], atol=0.1 * half)

    @pytest.mark.parametrize(
        "table",
        [
            lambda results, level: results.summary(level),
            lambda results, level: results.curve("deletion", "some", level),
            lambda results, level: results.differences("some", level),
        ],
        ids=["summary", "curve", "differences"],
    )
    def test_a_higher_level_is_wider(self, rng, table):
        x, curves = np.linspace(0, 0.25, 4), rng.uniform(size=(50, 4))
        parts = [table_of("deletion", curves, x=x), table_of("deletion", curves**2, "other", x=x)]
        narrow, wide = (table(metrics.Results(pd.concat(parts)), level) for level in (0.5, 0.99))
        assert (wide["low"] < narrow["low"]).all()
        assert (narrow["low"] < narrow["high"]).all()
        assert (narrow["high"] < wide["high"]).all()

    @pytest.mark.parametrize("items", [1, 5])
    def test_no_variance(self, items):
        scores = np.full((items, 9), 0.3)
        x = np.linspace(0, 0.25, 9)
        results = metrics.Results(
            pd.concat([table_of("localisation", scores), table_of("insertion", scores, x=x)], ignore_index=True)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            summary, curve = results.summary(), results.curve("insertion", "some")
        np.testing.assert_allclose(summary[["mean", "low", "high"]], 0.3)
        np.testing.assert_allclose(curve[["mean", "low", "high"]], 0.3)

    def test_curves(self, rng):
        x = np.linspace(0, 0.25, 5)
        curves = rng.uniform(size=(30, 5))
        results = metrics.Results(
            pd.concat([table_of("deletion", curves, x=x), table_of("deletion", 1 - curves, "other", x=x)]).sample(
                frac=1, random_state=0
            )
        )
        curve = results.curve("deletion", "some")
        np.testing.assert_array_equal(curve["x"], x)
        np.testing.assert_allclose(curve["mean"], curves.mean(0))
        assert (curve["low"] < curve["mean"]).all()
        assert (curve["mean"] < curve["high"]).all()
        summary = results.summary().set_index("method")
        assert set(summary.index) == {"some", "other"}
        np.testing.assert_allclose(summary.loc["some", "mean"], metrics.auc(curves).mean())
        np.testing.assert_allclose(summary.loc["other", "mean"], 1 - metrics.auc(curves).mean())

    def test_differences_are_item_by_item(self, rng):
        # Items that differ much, and a second method that is a little better on each.
        of_items, gains = 10 * rng.normal(size=400), 0.1 + 0.1 * rng.normal(size=400)
        grids, better = (np.tile(scores[:, np.newaxis], 9) for scores in (of_items, of_items + gains))
        x = np.linspace(0, 0.25, 5)
        curves = rng.uniform(size=(30, 5))
        parts = [
            table_of("localisation", grids, "first"),
            table_of("localisation", better, "second"),
            table_of("deletion", curves, "first", x=x),
            table_of("deletion", curves - x, "second", x=x),
            table_of("insertion", curves, "second", x=x),
        ]
        results = metrics.Results(pd.concat(parts).sample(frac=1, random_state=0))
        localisation, deletion = results.differences("first").itertuples()
        assert (localisation.metric, localisation.method, localisation.count) == ("localisation", "second", 400)
        np.testing.assert_allclose(localisation.mean, gains.mean())
        half = 1.96 * gains.std() / 20
        expected = [localisation.mean - half, localisation.mean + half]
        np.testing.assert_allclose([localisation.low, localisation.high], expected, atol=0.1 * half)
        # The area under x is the middle of its range.
        assert (deletion.metric, deletion.method, deletion.count) == ("deletion", "second", 30)
        np.testing.assert_allclose([deletion.mean, deletion.low, deletion.high], -0.125)
        np.testing.assert_allclose(results.differences("second")["mean"], [-localisation.mean, 0.125])

    def test_differences_refuse_what_cannot_be_compared(self, rng):
        scores = rng.normal(size=(4, 9))
        results = metrics.Results(
            pd.concat([table_of("localisation", scores), table_of("localisation", scores[1:], "other")])
        )
        with pytest.raises(ValueError, match=r"methods \['some', 'other'\]\. Received: 'third'"):
            results.differences("third")
        with pytest.raises(ValueError, match=r"of 'other' by localisation for the 4 items.*Received: 3 items, 3"):
            results.differences("some")
        later = table_of("localisation", scores, "other")
        results = metrics.Results(pd.concat([table_of("localisation", scores), later.assign(item=later["item"] + 1)]))
        with pytest.raises(ValueError, match=r"for the 4 items.*Received: 4 items, 3"):
            results.differences("some")

    def test_the_same_interval_each_time(self, rng):
        results = metrics.Results(table_of("localisation", rng.normal(size=(50, 4))))
        pd.testing.assert_frame_equal(results.summary(), results.summary())

    @pytest.mark.parametrize(("metric", "method"), [("localisation", "some"), ("insertion", "none"), ("other", "some")])
    def test_refuses_curves_that_are_not_there(self, metric, method):
        x = np.linspace(0, 1, 3)
        table = pd.concat([table_of("localisation", np.ones((2, 3))), table_of("insertion", np.ones((2, 3)), x=x)])
        with pytest.raises(ValueError, match=r"Expected a metric and method of \[\('insertion', 'some'\)\]"):
            metrics.Results(table).curve(metric, method)

    def test_load_refuses_a_directory_without_results(self, tmp_path):
        with pytest.raises(ValueError, match=r"Expected a directory with results\.csv"):
            metrics.Results.load(tmp_path)
