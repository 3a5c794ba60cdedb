"""The paper's figures, from presets and a data set.

    python scripts/figures.py --figure 5 --preset xs_coda_digits --dataset digits --out figures/

2: weights and contributions for the label and the strongest other class, of one or more presets
3: a rank-3 DAU encodes three digits as eigenvectors of AB (trains the DAU; needs no preset)
4: contribution maps of the same images by temperature, of several presets
5: the most confident correct prediction of each class
6: localisation and pixel removal of every method, from folders of `keras-coda evaluate`
7: a grid of images and the contribution maps of its classes
8: contribution maps beside the strongest post-hoc methods
cover: the picture of the README: image, weights and contributions of the most confident prediction of each class
sanity: how maps change while the network's layers are randomised
"""

import argparse
import pathlib
import sys

from paper_figures import (
    both_metrics,
    comparison,
    confident,
    cover,
    eigenvectors,
    grids,
    sanity,
    temperatures,
    weights,
)

from keras_coda import data, plots
from keras_coda.reports import Evaluation, Published, Subject


def figure_3(arguments):
    """A figure that trains a DAU and draws its eigenvectors."""
    settings = (arguments.samples, arguments.noise, arguments.epochs, arguments.learning_rate)
    return eigenvectors.draw(data.load(arguments.dataset or "mnist", arguments.data_dir), *settings)


def figure_6(arguments):
    """A figure of the results of `keras-coda evaluate`."""
    if not arguments.results:
        raise ValueError("Figure 6 needs --results, folders that `keras-coda evaluate` left. Received: none")
    published = None if arguments.published is None else Published(arguments.published)
    return both_metrics.draw([Evaluation.load(folder) for folder in arguments.results], published)


def of_subjects(draw):
    """A figure of all presets."""
    return lambda arguments: draw([*subjects(arguments)])


def of_subject(draw, **options):
    """A figure of one preset. `options` are the names of its further arguments, as `draw` has them."""

    def figure(arguments):
        given = {name: getattr(arguments, option) for name, option in options.items()}
        return draw(next(subjects(arguments)), **{name: value for name, value in given.items() if value is not None})

    return figure


FIGURES = {
    "2": of_subjects(weights.draw),
    "3": figure_3,
    "4": of_subjects(temperatures.draw),
    "5": of_subject(confident.draw, count="images"),
    "6": figure_6,
    "7": of_subject(grids.draw, size="grid_size"),
    "8": of_subject(comparison.draw, methods="methods", count="images"),
    "cover": of_subject(cover.draw, count="images"),
    "sanity": of_subject(sanity.draw, methods="methods", count="images"),
}


def subjects(arguments):
    return (Subject.load(preset, arguments.dataset, arguments.data_dir) for preset in arguments.preset)


def main(arguments=None):
    """Draw one figure, or several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", nargs="+", choices=FIGURES, required=True)
    parser.add_argument(
        "--preset", nargs="+", default=["xs_coda_digits"], help="names or folders (default: %(default)s)"
    )
    parser.add_argument("--dataset", help="a name, or an .npz file (default: the preset's; of figure 3, mnist)")
    parser.add_argument("--data-dir", help="where TFDS keeps its data")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("figures"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, help="images in figures 5, 8, cover and sanity")
    parser.add_argument("--methods", nargs="+", help="in figures 8 and sanity")
    parser.add_argument("--grid-size", type=int, help="images in a row of figure 7 (default: 2)")
    parser.add_argument("--results", nargs="+", type=pathlib.Path, help="folders for figure 6")
    parser.add_argument("--published", type=pathlib.Path, help="JSON file of published scores to draw in figure 6")
    parser.add_argument("--samples", type=int, default=3072, help="noisy images of figure 3 (paper: %(default)s)")
    parser.add_argument("--noise", type=float, default=0.3, help="its standard deviation (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="of figure 3 (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="of figure 3 (default: %(default)s)")
    arguments = parser.parse_args(arguments)
    try:
        for name in arguments.figure:
            path = arguments.out / f"figure_{name}.png"
            plots.save_figure(FIGURES[name](arguments), path)
            print(path)
    except (ValueError, OSError, ImportError) as error:
        print(f"figures.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
