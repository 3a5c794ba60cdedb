"""Print on which images of its grids the positive contributions to each class are.

    KERAS_BACKEND=torch python scripts/studies/shared_contributions.py xs_coda_mnist --grids 500

A row has a class c. Its column d has the share of the positive contributions to c that is on the image of class d, mean
over the grids that have both. The diagonal is the localisation (paper, eq. 11) of c. Other large entries are of classes
that share features.
"""

import argparse

import numpy as np
import pandas as pd

from keras_coda import attributions, metrics, reports
from keras_coda.metrics.localisation import shares

SIZE = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="a name or folder")
    parser.add_argument("--grids", type=int, default=100, help="(default: %(default)s)")
    arguments = parser.parse_args()
    subject = reports.Subject.load(arguments.preset)
    grids = metrics.make_grids(subject.model, subject.images, subject.labels, SIZE, arguments.grids)
    maps = attributions.Contributions(subject.model).maps(grids.images, grids.targets)
    table = pd.DataFrame(
        {
            "class": np.repeat(grids.targets, SIZE**2, axis=1).ravel(),
            "on": np.tile(grids.targets, SIZE**2).ravel(),
            "share": shares(maps, SIZE).ravel(),
        }
    )
    means = table.pivot_table(index="class", columns="on", values="share")
    print(means.rename(index=subject.classes.__getitem__, columns=subject.classes.__getitem__).round(2).to_string())


if __name__ == "__main__":
    main()
