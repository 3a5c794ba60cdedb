"""The picture of the README: images, the weights W(x) in their colours, and the contributions."""

from keras_coda.plots.panels import attribution, image, plot_panels, weights

CLASSES_A_ROW = 2


def draw(subject, count=6):
    """The most confident correct prediction of each class, the most confident first, `CLASSES_A_ROW` in a row."""
    indices = subject.most_confident()[:count]
    explanation = subject.model.explain(subject.images[indices], subject.labels[indices])
    cells: list[list] = []
    titles: list[list] = []
    for i, index in enumerate(indices):
        if i % CLASSES_A_ROW == 0:
            cells.append([])
            titles.append([])
        maps = explanation.contribution_map[i]
        cells[-1] += [
            image(subject.images[index], subject.data_format),
            weights(explanation.weights[i], maps, subject.data_format),
            attribution(maps),
        ]
        # In the second line of a title, beside the panel. What the panels are is said once, at the top.
        names = ("weights", "contributions") if len(cells) == 1 else ("", "")
        titles[-1] += [f"\n{title}" for title in (subject.classes[subject.labels[index]], *names)]
    height, width = maps.shape
    groups = range(3, 3 * CLASSES_A_ROW, 3)
    return plot_panels(cells, titles=titles, size=128, aspect=height / width, groups=groups)
