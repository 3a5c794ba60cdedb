"""The scores of an evaluation: a table, means with confidence intervals, and mean curves."""

import os
import pathlib
from typing import Any

import numpy as np

from keras_coda.imports import Lazy
from keras_coda.metrics.insertion_deletion import auc
from keras_coda.metrics.pieces import read_table

pd = Lazy("pandas", "pandas")
stats = Lazy("scipy.stats", "scipy")

FILE = "results.csv"
LOCALISATION = "localisation"
CURVES = ("removal_least_first", "removal_most_first", "insertion", "deletion")


class Results:
    """The scores of an evaluation by `keras_coda.metrics.measure`.

    Args:
        table: see below.

    Attributes:
        table: DataFrame with a row for each score: metric; method; item (the number of a grid or image); target (the
            class); x (the share of the pixels removed or inserted; empty for localisation); score; seconds (the time
            of the item's attribution for all its targets, the same in all of its rows).

    Example:

    >>> keras_coda.metrics.measure(model, x_test, y_test, methods, "evaluation", grids=2, removed=4)
    >>> results = keras_coda.metrics.Results.load("evaluation")
    >>> results.summary()
    >>> results.differences("contributions")
    >>> results.curve("removal_least_first", "contributions").plot(x="x", y="mean")
    """

    def __init__(self, table: Any):
        self.table = table

    def __repr__(self):
        return f"Results({len(self.table)} scores, methods: {list(self.table['method'].unique())})"

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Results":
        """Read the results of an evaluation from its directory.

        Args:
            directory: path.

        Returns:
            `Results`.

        Raises:
            ValueError: the directory has no results.
        """
        path = pathlib.Path(directory) / FILE
        if not path.is_file():
            raise ValueError(f"Expected a directory with {FILE}, of a finished evaluation. Received: {directory}")
        return cls(read_table(path))

    def summary(self, confidence_level: float = 0.95) -> Any:
        """The mean score of each method by each metric, with confidence intervals by bootstrap.

        Each item has one score: the mean over the cells of a grid, or the area under the curve of an image.

        Args:
            confidence_level: number in (0, 1).

        Returns:
            DataFrame with a row for each metric and method: metric, method, mean, low, high, count (of items), seconds
            (the mean over items).
        """
        rows = []
        for (metric, method), table in self.table.groupby(["metric", "method"], sort=False):
            scores = _scores(metric, table).to_numpy()
            low, high = _interval(scores, confidence_level)
            seconds = table.groupby("item")["seconds"].first().mean()
            rows.append([metric, method, scores.mean(), float(low), float(high), len(scores), seconds])
        return pd.DataFrame(rows, columns=["metric", "method", "mean", "low", "high", "count", "seconds"])

    def differences(self, method: str, confidence_level: float = 0.95) -> Any:
        """How much better or worse the other methods are than `method`, on the same grids and images.

        The scores of the methods on one image are alike: some images are easy for all. So two methods may differ
        clearly although the intervals of their means overlap. These intervals are of the differences, item by item.

        Args:
            method: the name of the method to compare with.
            confidence_level: number in (0, 1).

        Returns:
            DataFrame with a row for each metric and other method: metric, method, mean (of its score minus that of
            `method`), low, high, count (of items).

        Raises:
            ValueError: there are no scores of this method, or another one has scores of other items.

        Example:

        >>> keras_coda.metrics.Results.load("evaluation").differences("contributions")
        """
        names = list(self.table["method"].unique())
        if method not in names:
            raise ValueError(f"Expected one of the methods {names}. Received: {method!r}")
        rows = []
        for metric, table in self.table.groupby("metric", sort=False):
            scores = {name: _scores(metric, part) for name, part in table.groupby("method", sort=False)}
            reference = scores.pop(method, None)
            for name, of_other in scores.items() if reference is not None else ():
                if not of_other.index.equals(reference.index):
                    same = of_other.index.isin(reference.index).sum()
                    raise ValueError(
                        f"Expected scores of {name!r} by {metric} for the {len(reference)} items that {method!r} has. "
                        f"Received: {len(of_other)} items, {same} of them the same"
                    )
                differences = (of_other - reference).to_numpy()
                low, high = _interval(differences, confidence_level)
                rows.append([metric, name, differences.mean(), float(low), float(high), len(differences)])
        return pd.DataFrame(rows, columns=["metric", "method", "mean", "low", "high", "count"])

    def curve(self, metric: str, method: str, confidence_level: float = 0.95) -> Any:
        """The mean curve of a method over all images, with confidence intervals by bootstrap.

        Args:
            metric: "removal_least_first", "removal_most_first", "insertion" or "deletion".
            method: the method's name.
            confidence_level: number in (0, 1).

        Returns:
            DataFrame with a row for each point: x, mean, low, high.

        Raises:
            ValueError: there are no such curves.
        """
        table = self.table[(self.table["metric"] == metric) & (self.table["method"] == method)]
        if metric == LOCALISATION or not len(table):
            known = self.table[self.table["metric"] != LOCALISATION]
            pairs = list(known.groupby(["metric", "method"], sort=False).groups)
            raise ValueError(f"Expected a metric and method of {pairs}. Received: {metric!r}, {method!r}")
        curves = _curves(table).to_numpy()
        low, high = _interval(curves, confidence_level)
        return pd.DataFrame({"x": np.unique(table["x"]), "mean": curves.mean(0), "low": low, "high": high})


def _curves(table):
    """The scores of one metric and method, a row for each item and a column for each point."""
    return table.pivot(index="item", columns="x", values="score")


def _scores(metric, table):
    """The one score of each item of one metric and method, by the item's number."""
    if metric == LOCALISATION:
        return table.groupby("item")["score"].mean()
    curves = _curves(table)
    return pd.Series(auc(curves.to_numpy()), curves.index)


def _interval(values, confidence_level):
    """The confidence interval of the mean over the first axis. For a single item, its width is 0."""
    if len(values) == 1:
        return values[0], values[0]
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=2000,
        batch=100,
        axis=0,
        confidence_level=confidence_level,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return interval.low, interval.high
