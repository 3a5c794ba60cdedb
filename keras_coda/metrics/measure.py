"""The metrics of many methods on one model. An evaluation can be interrupted and continued."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_coda.attributions.classifier import name_of
from keras_coda.files import alone
from keras_coda.imports import Lazy
from keras_coda.metrics import pieces
from keras_coda.metrics.grids import assemble, draw_grids
from keras_coda.metrics.insertion_deletion import blur
from keras_coda.metrics.localisation import check_finite, localisation
from keras_coda.metrics.pixel_removal import RankedPixels
from keras_coda.metrics.protocol import Protocol
from keras_coda.metrics.results import CURVES, FILE, LOCALISATION, Results
from keras_coda.metrics.selection import as_classifier, as_labels
from keras_coda.settings import settings_of

pd = Lazy("pandas", "pandas")


def measure(
    model: Any,
    images: Any,
    labels: Any,
    methods: dict[str, Callable],
    directory: str | os.PathLike,
    protocol: Protocol | None = None,
    *,
    batch_size: int = 32,
    verbose: int = 1,
    **settings,
) -> Results:
    """Measure attribution methods on a model by the paper's metrics (4.2), or by insertion and deletion.

    The work is done in pieces. Each is a file in `directory` with a checksum, written completely or not at all. After
    an interruption, the same call continues with the pieces that are missing or damaged. Methods can be added later. A
    method is identified by its name and its settings, the public attributes that are plain data. Everything else must
    be as before.

    Localisation is measured on grids of the images that the model is most confident of (see `make_grids`). The other
    metrics are measured on the first images, for the class of their label, and share an image's attribution. If your
    images are ordered by class, shuffle them first. Otherwise the first images are of the first classes alone.

    "seconds" is the wall time of the attribution of one item: an image, or a grid with all of its classes. It is the
    mean over a piece. A method is called once before its first piece, so that compilation is not counted.

    Args:
        model: a Keras model that `keras_coda.attributions.Classifier` takes; for localisation, it must take images of
            any size. Or a `Classifier`, which can choose the function from outputs to probabilities, and whether pixels
            of the encoded or of the plain image are removed. Methods have their own argument `input`.
        images: array of N images as the model takes them. `keras_coda.metrics.collect(data)` returns images and labels.
        labels: integers `(N,)` or `(N, 1)`.
        methods: dict from names to functions of a model that return an attribution, such as
            `keras_coda.attributions.published("cifar10")`, or `{"gradient": keras_coda.attributions.Gradient}`.
        directory: path, created if it is missing. The table is its file results.csv, see `Results`.
        protocol: `Protocol`: the metrics, the numbers of grids and images, and other settings. Default: the paper's.
        batch_size: integer, variants of images evaluated at once.
        verbose: 1 shows a progress bar for each method.
        settings: fields that replace those of `protocol`, such as `grids=20`.

    Returns:
        `Results` of these methods.

    Raises:
        ValueError: the directory belongs to other settings, another model or other images, or another evaluation writes
            to it now; a method's map has NaN or another size than the image (the method is named); the model does not
            take grids; an argument is not of this form.

    Example:

    >>> methods = {"contributions": keras_coda.attributions.Contributions, "grad_cam": keras_coda.attributions.GradCAM}
    >>> results = keras_coda.metrics.measure(model, x_test, y_test, methods, "evaluation", grids=2, removed=4)
    >>> results.summary()
    """
    protocol = settings_of(Protocol, protocol, settings)
    if not methods or not all(callable(make) for make in methods.values()):
        raise ValueError(f"`methods` must be a dict from names to functions of a model. Received: {methods!r}")
    classifier = as_classifier(model)
    images = keras.ops.convert_to_numpy(images)
    labels = as_labels(labels, len(images), classifier.classes)
    # Functions of one name, such as lambdas, differ in their probabilities. Those of one image may all be 0 or 1.
    outputs = classifier.outputs(classifier.source(images[:4]))
    probabilities = classifier.activation(keras.ops.convert_to_tensor(outputs))
    content = {
        **dataclasses.asdict(protocol),
        "metrics": sorted(protocol.metrics),
        "images": pieces.digest([images, labels]),
        "weights": pieces.digest(classifier.model.get_weights()),
        # Not determined by the weights. The outputs depend on the temperature, for example.
        "input": classifier.input,
        "activation": name_of(classifier.activation),
        pieces.OUTPUTS: outputs.tolist(),
        pieces.PROBABILITIES: keras.ops.convert_to_numpy(probabilities).tolist(),
    }
    # Pieces of different models have the same names.
    with alone(pathlib.Path(directory) / ".lock", "evaluation"):
        files = pieces.Pieces(directory, content)
        kinds: list[_Grids | _Images] = []
        if LOCALISATION in protocol.metrics:
            size, count, confidence, seed = protocol.grid_size, protocol.grids, protocol.confidence, protocol.seed
            if not files.continues:
                # Kept, since the outputs that they are chosen by differ in their last digits between machines.
                drawn = draw_grids(classifier, images, labels, size, count, confidence, seed, batch_size)
                pieces.write(files.directory / pieces.GRIDS, pd.DataFrame(drawn))
            kinds.append(_Grids(classifier, images, labels, files.grids(), size))
        curves = [metric for metric in CURVES if metric in protocol.metrics]
        if curves:
            ranked = RankedPixels(classifier, batch_size)
            kinds.append(_Images(ranked, images[: protocol.removed], labels[: protocol.removed], curves, protocol))
        paths = []
        # Make all methods before the first one runs. One that refuses this model then does so now, and not after hours.
        for name, method in {name: make(classifier.model) for name, make in methods.items()}.items():
            for kind in kinds:
                paths += _measure(files, name, method, kind, classifier.pixel_axes, protocol.piece, verbose)
        pieces.join(paths, files.directory / FILE)
        return Results.load(directory)


def _measure(files, name, method, kind, pixel_axes, piece, verbose):
    """Measure and write the missing pieces of one method, and return the paths of all."""
    starts = range(0, len(kind), piece)
    paths = [files.path(name, method, kind.name, start) for start in starts]
    missing = [(start, path) for start, path in zip(starts, paths, strict=True) if pieces.read(path) is None]
    if missing and verbose:
        print(f"{name}: {', '.join(kind.metrics)}")
    progress = keras.utils.Progbar(len(missing), verbose=verbose, unit_name="piece")
    for number, (start, path) in enumerate(missing, start=1):
        items = np.arange(start, min(start + piece, len(kind)))
        # Pad the last piece to the size of the others. Methods would be compiled again for another size.
        filled = np.resize(items, min(piece, len(kind)))
        images, targets = kind.inputs(filled)
        if number == 1:
            size = tuple(images.shape[axis] for axis in pixel_axes)
            shape = tuple(np.shape(method.maps(images, targets)))
            if shape[-2:] != size:
                raise ValueError(
                    f"Method {name!r} must give maps of the {kind.name}' size, {size}. Received: shape {shape}"
                )
        began = time.perf_counter()
        maps = method.maps(images, targets)
        seconds = (time.perf_counter() - began) / len(filled)
        maps = keras.ops.convert_to_numpy(maps)[: len(items)]
        check_finite(maps, f"Maps of method {name!r} for {kind.name} {items[0]} to {items[-1]}")
        tables = kind.scores(items, images[: len(items)], maps)
        pieces.write(path, pd.concat(tables).assign(method=name, seconds=seconds)[_COLUMNS])
        progress.update(number)
    return paths


_COLUMNS = ["metric", "method", "item", "target", "x", "score", "seconds"]


class _Grids:
    """Grids, the items of localisation."""

    name = "grids"
    metrics = (LOCALISATION,)

    def __init__(self, classifier, images, labels, chosen, size):
        self.classifier = classifier
        self.images = images
        self.targets = labels[chosen]
        self.chosen = chosen
        self.size = size

    def __len__(self):
        return len(self.chosen)

    def inputs(self, items):
        return assemble(self.images[self.chosen[items]], self.classifier.pixel_axes), self.targets[items]

    def scores(self, items, images, maps):
        return [_table(LOCALISATION, items, self.targets[items], np.nan, localisation(maps, self.size))]


class _Images:
    """Images, the items of the metrics that replace pixels."""

    name = "images"

    def __init__(self, ranked, images, labels, metrics, protocol):
        self.ranked = ranked
        self.images = images
        self.labels = labels
        self.metrics = metrics
        self.protocol = protocol

    def __len__(self):
        return len(self.images)

    def inputs(self, items):
        return self.images[items], self.labels[items]

    def scores(self, items, images, maps):
        source = self.ranked.classifier.source(images)
        targets = self.labels[items]
        tables = []
        for metric in self.metrics:
            fraction = self.protocol.fraction if metric.startswith("removal") else 1.0
            inserted = metric == "insertion"
            curves = self.ranked.curves(
                source,
                targets,
                maps,
                most_important_first=metric != "removal_least_first",
                fraction=fraction,
                points=self.protocol.points,
                replacement=blur(source, self.protocol.sigma, self.ranked.classifier.pixel_axes) if inserted else 0.0,
                inserted=inserted,
            )
            x = np.linspace(0, fraction, self.protocol.points)
            tables.append(_table(metric, items, targets[:, np.newaxis], x, curves))
        return tables


def _table(metric, items, targets, x, scores):
    """A row for each of the scores `(items, ...)`; targets and x broadcast to them."""
    columns = {"item": items[:, np.newaxis], "target": targets, "x": x, "score": scores}
    return pd.DataFrame({name: np.broadcast_to(value, scores.shape).ravel() for name, value in columns.items()}).assign(
        metric=metric
    )
