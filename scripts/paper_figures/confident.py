"""Figure 5: the most confident correct prediction of each class."""

from keras_coda.plots.panels import attribution, image, plot_panels

PAIRS_A_ROW = 4


def draw(subject, count=20):
    """A pair of image and contribution map for each class, the most confident first."""
    indices = subject.most_confident()[:count]
    explanation = subject.model.explain(subject.images[indices], subject.labels[indices])
    cells: list[list] = []
    titles: list[list] = []
    for i, index in enumerate(indices):
        if i % PAIRS_A_ROW == 0:
            cells.append([])
            titles.append([])
        label = subject.labels[index]
        cells[-1] += [image(subject.images[index], subject.data_format), attribution(explanation.contribution_map[i])]
        titles[-1] += [f"{subject.classes[label]}\nlogit {subject.outputs[index, label]:.1f}", None]
    height, width = explanation.contribution_map.shape[1:]
    groups = range(2, 2 * PAIRS_A_ROW, 2)
    return plot_panels(cells, titles=titles, size=144, aspect=height / width, groups=groups)
