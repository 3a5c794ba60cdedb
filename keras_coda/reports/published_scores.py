"""Published scores, drawn beside measured ones."""

import json
import os
import pathlib
from typing import Any

import numpy as np

# The sections of the file, by our names of the metrics.
SECTIONS = {"localisation": "localisation", "removal_least_first": "pixel_removal"}


class Published:
    """Published scores from a JSON file, for each metric by method and by temperature.

    The file has this form:

        {"source": TEXT,
         "localisation": {"protocol": TEXT,
                          "temperature_1000": {METHOD: {"mean": m, "median": m, "q25": q, "q75": q}, ...},
                          "own_maps_by_temperature": {TEMPERATURE: {...}, ...}},
         "pixel_removal": the same, with lists of the mean probability from 0 to 25 % of the pixels}

    Args:
        path: the file.

    Attributes:
        source: where the scores were published.

    Raises:
        ValueError: the file is not of this form.
        OSError: it cannot be read.

    Example:

    >>> published = keras_coda.reports.Published("published.json")  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike) -> None:
        try:
            self._content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            self.source = self._content["source"]
            _check_text(self.source)
            for metric in SECTIONS:
                _check_text(self.protocol(metric))
                for scores in (self.scores(metric), self.by_temperature(metric)):
                    for value in scores.values():
                        _check(metric, value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no JSON file of published scores: {error!r}") from error

    def scores(self, metric: str) -> dict[str, Any]:
        """Scores by method, of a network of T = 1000. Empty if the metric was not published."""
        return self._of(metric, "temperature_1000", {})

    def by_temperature(self, metric: str) -> dict[str, Any]:
        """Scores of the contributions by temperature. Empty if the metric was not published."""
        return self._of(metric, "own_maps_by_temperature", {})

    def protocol(self, metric: str) -> str:
        """How the scores were measured, in words."""
        return self._of(metric, "protocol", "")

    def _of(self, metric, key, default):
        return self._content[SECTIONS[metric]][key] if metric in SECTIONS else default


def _check(metric, value):
    numbers = [value[key] for key in ("mean", "median", "q25", "q75")] if metric == "localisation" else value
    if not (isinstance(numbers, list) and numbers and all(isinstance(number, int | float) for number in numbers)):
        raise ValueError(f"expected one number or more. Received: {numbers!r}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"not finite: {numbers}")


def _check_text(value):
    if not isinstance(value, str):
        raise ValueError(f"expected a text. Received: {value!r}")
