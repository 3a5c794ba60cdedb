"""Evaluate methods on a model: a folder with the scores and a report."""

import functools
import json
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_coda import attributions, metrics
from keras_coda.files import alone, written_whole
from keras_coda.imports import Lazy
from keras_coda.linear_maps import Graph
from keras_coda.metrics import pieces
from keras_coda.metrics.sanity_check import MODES, sanity_check
from keras_coda.reports import examples, report
from keras_coda.reports.evaluation import CHECKED, FACTS, INPUT, SANITY, Evaluation
from keras_coda.reports.published_scores import Published
from keras_coda.reports.subject import Subject
from keras_coda.settings import settings_of
from keras_coda.version import __version__

pd = Lazy("pandas", "pandas")

REPORT = "report.html"
"""The name of the page in the folder of an evaluation."""


def evaluate(
    subject: Subject,
    directory: str | os.PathLike,
    methods: Mapping[str, Callable] | None = None,
    protocol: metrics.Protocol | None = None,
    *,
    sanity: int = 0,
    shown: int = 6,
    published: Published | None = None,
    batch_size: int = 32,
    verbose: int = 1,
    **settings: Any,
) -> Evaluation:
    """Measure attribution methods on a model, and write a report that opens in any browser.

    The folder gets results.csv (see `keras_coda.metrics.measure`), evaluation.json, sanity.csv and report.html. After
    an interruption the same call resumes. Methods can be added later.

    Args:
        subject: a `Subject`.
        directory: path of the folder, created if missing.
        methods: dict from names to functions of a model that return an attribution. Default: all methods that
            `methods_of` finds for the model.
        protocol: `keras_coda.metrics.Protocol`: metrics, numbers of grids and images. Default: the paper's.
        sanity: integer, number of images for the sanity check in both modes, at most; 0 for no check.
        shown: integer, number of images whose maps the report shows. There are none if no image is classified
            correctly, or if images are not gray or of three colours, in [0, 1] or 8 bits.
        published: `Published` scores to show beside the measured ones.
        batch_size: integer, number of variants of images evaluated at once.
        verbose: 1 shows progress.
        settings: any field of `protocol`, in its place: `grids=20`.

    Returns:
        The `Evaluation`.

    Raises:
        ValueError: `sanity` is negative; see `keras_coda.metrics.measure`.

    Example:

    >>> subject = keras_coda.reports.Subject.load("xs_coda_digits")
    >>> keras_coda.reports.evaluate(subject, "evaluation", methods, grids=2, removed=4).results.summary()
    """
    if sanity < 0:
        raise ValueError(f"`sanity` must be a number of images, 0 or more. Received: {sanity}")
    protocol = settings_of(metrics.Protocol, protocol, settings)
    directory = pathlib.Path(directory)
    methods = methods_of(subject.model, batch_size=batch_size) if methods is None else methods
    # Each method is made once, so that nothing is compiled again for the examples.
    made = {name: make(subject.model) for name, make in methods.items()}
    sanity = min(sanity, len(subject.images))
    # A lock beside that of `measure`, which is free again while the rest is written.
    with alone(directory / ".evaluate.lock", "evaluation"):
        checks = functools.partial(_sanity_pieces, subject, directory / "sanity", sanity, protocol.seed)
        if sanity and (directory / "sanity").exists():
            # Before hours of work, since it refuses a folder with the checks of other images.
            checks()
        results = metrics.measure(
            subject.model,
            subject.images,
            subject.labels,
            {name: lambda model, method=method: method for name, method in made.items()},
            directory,
            protocol,
            batch_size=batch_size,
            verbose=verbose,
        )
        # Made here, since `measure` may refuse the folder.
        table = _sanity(subject, methods, made, checks(), sanity, protocol.seed, verbose) if sanity else None
        evaluation = Evaluation(_facts(subject, made, results, protocol, sanity), results, table)
        with written_whole(directory / FACTS) as file:
            json.dump(evaluation.facts, file, indent=1)
        if verbose:
            print(f"Drawing the examples of {directory / REPORT}", flush=True)
        pictures = examples.make(
            subject, made, shown, protocol.grid_size if "localisation" in protocol.metrics else None
        )
        title = f"How well attributions explain {subject.name}"
        report.write(directory / REPORT, title, evaluation, pictures, published)
        return evaluation


def methods_of(
    model: keras.Model,
    names: Sequence[str] | None = None,
    settings: str = "cifar10",
    batch_size: int = 32,
    definition: str = "paper",
) -> dict[str, Callable]:
    """The published methods that work on a model.

    Args:
        model: a Keras model.
        names: names from `keras_coda.attributions.published(settings, definition)`. Default: all that work on the
            model. The others are printed with the reason.
        settings: the data set whose published settings are used.
        batch_size: integer, number of images or variants of images evaluated at once.
        definition: "paper" or "paper_code", see `keras_coda.attributions.published`.

    Returns:
        Dict from names to functions of a model.

    Raises:
        ValueError: a name, the data set or the definition is unknown; or one of `names` does not work on the model.

    Example:

    >>> methods = keras_coda.reports.methods_of(model, ["contributions", "grad_cam"])
    """
    known = attributions.published(settings, definition)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"Expected methods from {', '.join(known)}. Received: {', '.join(unknown)}")
    found: dict[str, Callable] = {}
    for name in names or known:
        try:
            known[name](model)
        except ValueError as error:
            if names:
                raise
            print(f"Left out: {name}. {error}", file=sys.stderr)
            continue
        found[name] = functools.partial(known[name], batch_size=batch_size)
    return found


def _sanity_pieces(subject, directory, count, seed):
    """The `Pieces` of the sanity checks."""
    settings = {
        "seed": seed,
        "images": pieces.digest([subject.images[:count], subject.labels[:count]]),
        "weights": pieces.digest(subject.model.get_weights()),
    }
    return pieces.Pieces(directory, settings)


def _sanity(subject, methods, made, checks, count, seed, verbose):
    """The sanity checks of all methods in both modes. Each is saved as a piece, so that it can be resumed."""
    images, labels = subject.images[:count], subject.labels[:count]
    tables = []
    for name, make in methods.items():
        for mode in MODES:
            path = checks.path(name, made[name], mode, 0)
            if pieces.read(path) is None:
                if verbose:
                    print(f"{name}: sanity check, {mode}")
                table = sanity_check(subject.model, make, images, labels, mode, seed, verbose)
                pieces.write(path, table.assign(mode=mode, method=name))
            tables.append(pieces.table(path))
    table = pd.concat(tables, ignore_index=True)
    pieces.write_table(checks.directory.with_name(SANITY), table)
    return table


def _facts(subject, made, results, protocol, sanity):
    items = results.table.groupby("metric")["item"].nunique()
    facts = {
        "model": subject.name,
        "parameters": subject.model.count_params(),
        "temperature": subject.temperature,
        "test images": len(subject.images),
        "accuracy": float(np.mean(subject.correct)),
        **({"top-5 accuracy": subject.top_accuracy(5)} if len(subject.classes) > 5 else {}),
        "classes": ", ".join(subject.classes),
    }
    if "localisation" in items:
        facts["grids"] = int(items["localisation"])
        facts["images in a grid"] = protocol.grid_size**2
    others = [metric for metric in items.index if metric != "localisation"]
    if others:
        facts["images of the other metrics"] = int(items[others[0]])
        facts["part of the pixels removed"] = protocol.fraction
        facts["points of a curve"] = protocol.points
    if sanity:
        facts[CHECKED] = sanity
    post_hoc = [method for method in made.values() if not isinstance(method, attributions.Contributions)]
    encoded = "encoded" if subject.classifier.encoding else "not encoded"
    inputs = {encoded if m.input == "encoded" else m.input for m in post_hoc if isinstance(m, attributions.Attribution)}
    # Of layers with weights. Keras' policy of the moment may be another, and so is that of a Functional model.
    dtypes = {layer.compute_dtype for layer in Graph.of(subject.model).operations if getattr(layer, "weights", ())}
    return {
        **facts,
        **({INPUT: ", ".join(sorted(inputs))} if inputs else {}),
        "seed": protocol.seed,
        "backend": f"{keras.backend.backend()}, {', '.join(sorted(dtypes))}",
        "versions": f"keras-coda {__version__}, Keras {keras.version()}, NumPy {np.__version__}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
    }
