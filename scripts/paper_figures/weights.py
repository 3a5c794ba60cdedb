"""Figure 2: weights and contributions for the label and the strongest other class."""

import numpy as np

from keras_coda import plots
from keras_coda.plots.panels import attribution, image, plot_panels, weights
from keras_coda.plots.style import MINUS

COLUMNS = ["image", "weights, label", "contributions", "weights, other", "contributions"]


def chosen(subject):
    """The strongest and the weakest of the correctly classified images, and the most confident mistake."""
    correct, wrong = np.flatnonzero(subject.correct), np.flatnonzero(~subject.correct)
    by_logit = correct[np.argsort(-subject.of_label[correct], kind="stable")]
    mistakes = wrong[np.argsort(-subject.outputs.max(axis=1)[wrong], kind="stable")]
    return [*by_logit[:1], *by_logit[1:][-1:], *mistakes[:1]]


def draw(subjects):
    """A row for each of three images of each subject: the image, and weights and contributions of both classes."""
    cells, rows, titles = [], [], []
    for subject in subjects:
        indices = chosen(subject)
        images, labels = subject.images[indices], subject.labels[indices]
        pairs = plots.target_and_strongest_other(subject.outputs[indices], labels)
        explanation = subject.model.explain(images, pairs)
        for i, index in enumerate(indices):
            maps = explanation.contribution_map[i]
            limit = plots.contribution_limit(maps)
            outcome = "correct" if subject.correct[index] else f"as {subject.classes[subject.outputs[index].argmax()]}"
            row = [image(images[i], subject.data_format)]
            above: list[str | None] = [f"{subject.classes[labels[i]]}\n{outcome}"]
            for k in range(2):
                row.append(weights(explanation.weights[i, k], maps[k], subject.data_format))
                row.append(attribution(maps[k], limit))
                logit = f"logit {subject.outputs[index, pairs[i, k]]:.1f}".replace("-", MINUS)
                above += [f"{subject.classes[pairs[i, k]]}\n{logit}", None]
            cells.append(row)
            titles.append(above)
            rows.append(subject.name if i == 0 else "")
    aspect = maps.shape[-2] / maps.shape[-1]
    return plot_panels(cells, columns=COLUMNS, rows=rows, titles=titles, size=160, aspect=aspect, groups=(1, 3))
