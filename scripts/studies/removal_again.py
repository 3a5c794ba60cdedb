"""Remove the least important pixels first, with contributions that are taken again as pixels go.

    KERAS_BACKEND=torch python scripts/studies/removal_again.py xs_coda_cifar10 --images 192 --methods occlusion_5

A CoDA-Net's contributions are for the very image: W(x) is another matrix once pixels are missing. The removal metric
(paper, 4.2) ranks all pixels by the maps of the whole image. Here the pixels are ranked in several equal parts, each by
the contributions to the image without the parts before it. Printed are the mean scores, and the differences from the
usual ranking, image by image, with 95 % intervals by bootstrap. If a score grows with the number of times, W(x)'s
changes are what the usual ranking misses.
"""

import argparse
import itertools

import keras
import numpy as np
import scipy.stats

from keras_coda import attributions, metrics, reports
from keras_coda.layers import InputEncoding

REMOVED = 0.25  # of the pixels, as published


def without_encoding(model):
    """The layers after the encoding, as a model of encoded images."""
    encoding = next(i for i, layer in enumerate(model.layers) if isinstance(layer, InputEncoding))
    shape = model.layers[encoding].compute_output_shape(model.input_shape)
    return keras.Sequential([keras.Input(shape[1:]), *model.layers[encoding + 1 :]])


def ranked_again(attribution, images, labels, times):
    """Maps `(N, H, W)` whose values are the order in which the first pixels are removed, and infinity for the rest."""
    count, height, width = images.shape[:3]
    order = np.full((count, height * width), np.inf)
    ends = np.linspace(0, REMOVED * height * width, times + 1).astype(int)
    for begin, end in itertools.pairwise(ends):
        kept = np.isinf(order).reshape(count, height, width, 1)
        maps = attribution.maps(images * kept, labels).reshape(count, -1)
        maps = np.where(np.isinf(order), maps, np.inf)
        lowest = np.argsort(maps, axis=-1, kind="stable")[:, : end - begin]
        np.put_along_axis(order, lowest, np.arange(begin, end, dtype="float64")[np.newaxis], axis=-1)
    return np.minimum(order, ends[-1]).reshape(count, height, width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="a name or folder, of a network that encodes its images")
    parser.add_argument("--images", type=int, default=96, help="test images (default: %(default)s)")
    parser.add_argument("--times", type=int, nargs="+", default=[4, 16], help="(default: 4 and 16)")
    parser.add_argument("--methods", nargs="*", default=[], help="to compare with, of attributions.published")
    arguments = parser.parse_args()
    subject = reports.Subject.load(arguments.preset)
    labels = np.asarray(subject.labels[: arguments.images])
    images = np.asarray(subject.classifier.source(subject.images[: arguments.images]))
    model = without_encoding(subject.model)
    contributions = attributions.Contributions(model)
    published = attributions.published("cifar10")

    rankings = {"contributions": contributions.maps(images, labels)}
    for times in arguments.times:
        rankings[f"contributions, {times} times"] = ranked_again(contributions, images, labels, times)
    for name in arguments.methods:
        rankings[name] = published[name](model).maps(images, labels)

    print("| ranking | removal, least first | minus that of contributions, 95 % interval |\n| --- | --- | --- |")
    first = None
    for name, maps in rankings.items():
        scores = metrics.auc(metrics.pixel_removal(model, images, labels, maps, fraction=REMOVED))
        first = scores if first is None else first
        interval = ""
        if scores is not first:
            difference = scores - first
            rng = np.random.default_rng(0)
            low, high = scipy.stats.bootstrap((difference,), np.mean, rng=rng, method="percentile").confidence_interval
            interval = f"{difference.mean():.3f}, {low:.3f} to {high:.3f}"
        print(f"| {name} | {scores.mean():.3f} | {interval} |", flush=True)


if __name__ == "__main__":
    main()
