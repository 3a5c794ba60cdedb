"""Localisation of slow methods on a random part of the paper's 500 grids (paper, 4.2).

    KERAS_BACKEND=torch python scripts/grid_sample.py s_coda_cifar10 --grids 24 --definition paper_code \
        --methods contributions occlusion_9 --out sample.csv

`keras-coda evaluate --grids 24` takes the most confident images, on which scores are higher. This takes the first grids
of the 500, whose images are shuffled, so that their mean estimates that of all 500. Prints means over the grids with 95
% intervals by bootstrap. --out has a row for each grid and class. After an interruption the same command goes on with
the grids that are missing there.
"""

import argparse
import csv
import pathlib

import numpy as np
import scipy.stats

from keras_coda import attributions, metrics, reports

SIZE = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a preset, or a .keras file")
    parser.add_argument("--dataset", help="name or .npz file; default: that of the preset")
    parser.add_argument("--of", type=int, default=500, help="number of grids to make (default: %(default)s)")
    parser.add_argument("--grids", type=int, default=24, help="number to use (default: %(default)s)")
    parser.add_argument("--definition", default="paper", choices=["paper", "paper_code"])
    parser.add_argument("--methods", nargs="+", default=["contributions"])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="CSV file")
    arguments = parser.parse_args()
    known = attributions.published("cifar10", arguments.definition)
    unknown = sorted({*arguments.methods} - {*known})
    if unknown or arguments.grids < 2:
        parser.error(f"Expected methods of {[*known]}, and two grids or more. Received: {unknown}, {arguments.grids}")
    subject = reports.Subject.load(arguments.model, arguments.dataset)
    grids = metrics.make_grids(subject.model, subject.images, subject.labels, SIZE, arguments.of)
    count = min(arguments.grids, len(grids))
    # The outputs tell other weights, images and definitions apart.
    settings = ["settings", arguments.definition, arguments.of, repr(float(subject.outputs.astype("float64").sum()))]
    rows = [*csv.reader(arguments.out.open())] if arguments.out.exists() else []
    if rows and rows[0] != [*map(str, settings)]:
        parser.error(f"{arguments.out} has other settings. Expected: {settings}. Received: {rows[0]}")
    if not rows:
        rows = [settings]
    scores: dict[tuple[str, int], list[float]] = {}
    for row in rows[1:]:
        if len(row) == 4:  # not cut off
            scores.setdefault((row[0], int(row[1])), []).append(float(row[3]))
    scores = {key: values for key, values in scores.items() if len(values) == SIZE**2}
    kept = [row for row in rows[1:] if len(row) == 4 and (row[0], int(row[1])) in scores]
    with arguments.out.open("w", newline="") as file:
        csv.writer(file).writerows([settings, *kept])
    methods = {name: known[name](subject.model) for name in arguments.methods}
    for number in range(count):
        for name, method in methods.items():
            if (name, number) in scores:
                continue
            part = slice(number, number + 1)
            maps = method.maps(grids.images[part], grids.targets[part])
            of_grid = metrics.localisation(maps, SIZE)[0]
            scores[name, number] = [*of_grid]
            with arguments.out.open("a", newline="") as file:
                new = zip(grids.targets[number], of_grid, strict=True)
                csv.writer(file).writerows((name, number, *row) for row in new)
            print(f"grid {number + 1} of {count}, {name}: {of_grid.mean():.3f}", flush=True)

    for name in methods:
        means = [np.mean(scores[name, number]) for number in range(count)]
        rng = np.random.default_rng(0)
        low, high = scipy.stats.bootstrap((means,), np.mean, rng=rng, method="percentile").confidence_interval
        print(f"{name}: {np.mean(means):.3f}, {low:.3f} to {high:.3f}, {count} of {len(grids)} grids")


if __name__ == "__main__":
    main()
