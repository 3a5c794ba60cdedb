"""Figure 8: contribution maps beside the strongest post-hoc methods."""

from keras_coda.plots.galleries import plot_methods
from keras_coda.reports.evaluate import methods_of

METHODS = ("contributions", "occlusion_9", "occlusion_5", "grad_cam", "rise")


def draw(subject, methods=METHODS, count=6):
    """At most `count` classes, each with its most confident image, and below it the maps."""
    indices = subject.most_confident()[:count]
    images, labels = subject.images[indices], subject.labels[indices]
    made = methods_of(subject.model, methods)
    maps = {name: make(subject.model).maps(images, labels) for name, make in made.items()}
    return plot_methods(images, maps, [subject.classes[label] for label in labels], subject.data_format)
