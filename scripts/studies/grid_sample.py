"""Localisation of slow methods on a random part of the paper's 500 grids (paper, 4.2).

    KERAS_BACKEND=torch python scripts/studies/grid_sample.py s_coda_cifar10 --grids 24 --definition paper_code \
        --methods contributions occlusion_9 --out sample

`keras-coda evaluate --grids 24` takes the most confident images, on which scores are higher. This takes the first grids
of the 500, whose images are shuffled, so that their mean estimates that of all 500. Prints means over the grids with 95
% intervals by bootstrap. --out is like the folder of `keras-coda evaluate`: the same command goes on after an
interruption, and `keras_coda.metrics.Results.load` reads it.
"""

import argparse
import pathlib
import time

import numpy as np
import pandas as pd

from keras_coda import attributions, metrics, reports
from keras_coda.metrics import pieces, results

SIZE = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a preset, or a .keras file")
    parser.add_argument("--dataset", help="name or .npz file; default: that of the preset")
    parser.add_argument("--of", type=int, default=500, help="number of grids to make (default: %(default)s)")
    parser.add_argument("--grids", type=int, default=24, help="number to use (default: %(default)s)")
    parser.add_argument("--definition", default="paper", choices=["paper", "paper_code"])
    parser.add_argument("--methods", nargs="+", default=["contributions"])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    arguments = parser.parse_args()
    known = attributions.published("cifar10", arguments.definition)
    unknown = sorted({*arguments.methods} - {*known})
    if unknown or arguments.grids < 2:
        parser.error(f"Expected methods of {[*known]}, and two grids or more. Received: {unknown}, {arguments.grids}")
    subject = reports.Subject.load(arguments.model, arguments.dataset)
    grids = metrics.make_grids(subject.model, subject.images, subject.labels, SIZE, arguments.of)
    count = min(arguments.grids, len(grids))
    settings = {
        "grids": arguments.of,
        "images": pieces.digest([subject.images, subject.labels]),
        "weights": pieces.digest(subject.model.get_weights()),
        pieces.OUTPUTS: subject.outputs[:1].tolist(),
    }
    files, paths = pieces.Pieces(arguments.out, settings), []
    methods = {name: known[name](subject.model) for name in arguments.methods}
    for number in range(count):
        for name, method in methods.items():
            path = files.path(name, method, "grids", number)
            paths.append(path)
            if pieces.read(path) is not None:
                continue
            part = slice(number, number + 1)
            began = time.perf_counter()
            maps = method.maps(grids.images[part], grids.targets[part])
            seconds = time.perf_counter() - began
            scores = metrics.localisation(maps, SIZE)[0]
            facts = {"metric": results.LOCALISATION, "method": name, "item": number, "target": grids.targets[number]}
            pieces.write(path, pd.DataFrame({**facts, "x": np.nan, "score": scores, "seconds": seconds}))
            print(f"grid {number + 1} of {count}, {name}: {scores.mean():.3f}", flush=True)

    pieces.join(paths, arguments.out / results.FILE)
    for row in metrics.Results.load(arguments.out).summary().itertuples():
        print(f"{row.method}: {row.mean:.3f}, {row.low:.3f} to {row.high:.3f}, {row.count} of {len(grids)} grids")


if __name__ == "__main__":
    main()
