"""Figure 4: contribution maps of the same images by temperature."""

import numpy as np

from keras_coda.plots.panels import attribution, image, plot_panels


def draw(subjects, count=4):
    """A row for each image that all subjects classify correctly, with the maps of all, sorted by temperature."""
    subjects = sorted(subjects, key=lambda subject: subject.temperature)
    highest = subjects[-1]
    indices = highest.most_confident(np.all([subject.correct for subject in subjects], axis=0))[:count]
    if not len(indices):
        raise ValueError("Expected an image that all presets classify correctly. Received: none among the test images")
    maps = [subject.model.explain(subject.images[indices], subject.labels[indices]) for subject in subjects]
    cells = [
        [image(highest.images[index], highest.data_format), *(attribution(m.contribution_map[i]) for m in maps)]
        for i, index in enumerate(indices)
    ]
    columns = ["image", *(f"T = {subject.temperature:g}" for subject in subjects)]
    rows = [highest.classes[highest.labels[index]] for index in indices]
    height, width = maps[0].contribution_map.shape[1:]
    return plot_panels(cells, columns=columns, rows=rows, size=160, aspect=height / width, groups=(1,))
