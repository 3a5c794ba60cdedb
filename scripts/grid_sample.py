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
    subject = reports.Subject.load(arguments.model, arguments.dataset)
    grids = metrics.make_grids(subject.model, subject.images, subject.labels, SIZE, arguments.of)
    known = attributions.published("cifar10", arguments.definition)
    arguments.out.touch()
    done = {(row[0], int(row[1])) for row in csv.reader(arguments.out.open())}
    for number in range(min(arguments.grids, len(grids))):
        for name in arguments.methods:
            if (name, number) in done:
                continue
            part = slice(number, number + 1)
            maps = known[name](subject.model).maps(grids.images[part], grids.targets[part])
            scores = metrics.localisation(maps, SIZE)[0]
            with arguments.out.open("a", newline="") as file:
                csv.writer(file).writerows(
                    (name, number, *row) for row in zip(grids.targets[number], scores, strict=True)
                )
            print(f"grid {number + 1} of {arguments.grids}, {name}: {scores.mean():.3f}", flush=True)

    rows = [*csv.reader(arguments.out.open())]
    for name in arguments.methods:
        of_grids = [
            np.mean([float(row[3]) for row in rows if row[:2] == [name, str(number)]])
            for number in range(arguments.grids)
        ]
        rng = np.random.default_rng(0)
        low, high = scipy.stats.bootstrap((of_grids,), np.mean, rng=rng, method="percentile").confidence_interval
        print(f"{name}: {np.mean(of_grids):.3f}, {low:.3f} to {high:.3f}, {len(of_grids)} of {len(grids)} grids")


if __name__ == "__main__":
    main()
