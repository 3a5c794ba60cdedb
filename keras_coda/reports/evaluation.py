"""The result of an evaluation, and how it is read from a folder."""

import dataclasses
import functools
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_coda.metrics import Results
from keras_coda.metrics.pieces import read_table

if TYPE_CHECKING:
    import pandas as pd

FACTS = "evaluation.json"
SANITY = "sanity.csv"
# Key of what post-hoc methods explain: "encoded", or "image", or both, see `keras_coda.attributions.Attribution`; "not
# encoded" for a model without an encoding, where the methods were not asked for "image".
INPUT = "input of post-hoc methods"
# Key of the number of images of the sanity check, if there was one.
CHECKED = "images of the sanity check"


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of attribution methods on a model, and their conditions.

    Attributes:
        facts: dict of facts about the model, the data and the machine.
        results: the `keras_coda.metrics.Results`.
        sanity: DataFrame of the sanity checks, with the columns of `keras_coda.metrics.sanity_check`, mode and method;
            or `None`.

    Example:

    >>> keras_coda.reports.evaluate(subject, "evaluation", methods, grids=2, removed=4)
    >>> evaluation = keras_coda.reports.Evaluation.load("evaluation")
    >>> evaluation.localisation()["contributions"].mean()
    """

    facts: dict
    results: Results
    sanity: "pd.DataFrame | None" = None

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Evaluation":
        """Read the evaluation that `evaluate` saved in a folder.

        Args:
            directory: path of the folder.

        Raises:
            ValueError: the folder holds no finished evaluation.
        """
        path = pathlib.Path(directory) / FACTS
        results = Results.load(directory)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            # There may be one of a former run with other methods.
            sanity = read_table(path.with_name(SANITY)) if CHECKED in facts else None
        except (OSError, ValueError) as error:
            raise ValueError(f"Expected a folder that `keras-coda evaluate` left. Received: {directory}") from error
        return cls(facts, results, sanity)

    @functools.cached_property
    def summary(self) -> "pd.DataFrame":
        """The table of `Results.summary`, whose intervals take seconds."""
        return self.results.summary()

    @property
    def metrics(self) -> list[str]:
        """The names of the measured metrics."""
        return list(self.results.table["metric"].unique())

    @property
    def mark(self) -> str:
        """A mark, " *", if the published post-hoc methods have another definition than the measured ones; or ""."""
        return "" if self.facts.get(INPUT) == "image" else " *"

    @property
    def temperature(self) -> float | None:
        """T of eq. (9); `None` for a model without T."""
        return self.facts["temperature"]

    @property
    def chance(self) -> float:
        """The localisation of a uniform map: 1 / n^2 for n x n grids."""
        return 1 / self.facts["images in a grid"]

    def preset_results(self) -> dict[str, Any]:
        """Results for a preset's metadata, see `keras_coda.presets.add_results`.

        The accuracy; and localisation and removal of the model's contributions, if measured, with the number of images.
        """
        results = {"test_images": self.facts["test images"], "test_accuracy": self.facts["accuracy"]}
        if "top-5 accuracy" in self.facts:
            results["test_top_5_accuracy"] = self.facts["top-5 accuracy"]
        measured = self.summary[self.summary["method"] == "contributions"].set_index("metric")
        if "localisation" in measured.index:
            results["localisation"] = float(measured.loc["localisation", "mean"])
            results["localisation_grids"] = int(measured.loc["localisation", "count"])
            results["localisation_images_a_grid"] = self.facts["images in a grid"]
        if "removal_least_first" in measured.index:
            results["removal"] = float(measured.loc["removal_least_first", "mean"])
            results["removal_images"] = int(measured.loc["removal_least_first", "count"])
            results["removal_percent_of_pixels"] = round(100 * self.facts["part of the pixels removed"])
        return results

    def localisation(self) -> dict[str, np.ndarray]:
        """All localisation scores: dict from methods to arrays, ordered by their means, the best first."""
        table = self.results.table[self.results.table["metric"] == "localisation"]
        scores = {method: rows["score"].to_numpy() for method, rows in table.groupby("method")}
        return dict(sorted(scores.items(), key=lambda item: -item[1].mean()))

    def curves(self, metric: str) -> "dict[str, pd.DataFrame]":
        """The mean curves of a metric: dict from methods to the tables of `Results.curve`."""
        methods = self.results.table.loc[self.results.table["metric"] == metric, "method"].unique()
        return {method: self.results.curve(metric, method) for method in methods}
