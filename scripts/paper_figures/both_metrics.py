"""Figure 6: localisation and pixel removal, of every method, and of the contributions by temperature."""

from keras_coda.plots import charts
from keras_coda.reports.report import PUBLISHED

METRIC = "removal_least_first"


def draw(evaluations, published=None):
    """Localisation above, removal of the least important pixels below.

    Args:
        evaluations: `Evaluation`s. The first is drawn by method. If there are several, a right column has the
            contributions of all by temperature.
        published: `Published` scores to draw beside them.
    """
    columns = 1 if len(evaluations) == 1 else 2
    figure, axes = charts.chart(6.5 * columns, 7.5, columns, rows=2)
    axes = axes.reshape(2, columns)
    first = evaluations[0]
    of_methods = {} if published is None else published.scores("localisation")
    charts.plot_boxes(axes[0, 0], first.localisation(), of_methods, first.chance, first.mark, PUBLISHED)
    curves = charts.of_published_curves(published)
    charts.plot_curves(axes[1, 0], first.curves(METRIC), curves, mark=first.mark, published_as=PUBLISHED)
    if columns == 2:
        by_temperature = sorted(evaluations, key=lambda evaluation: evaluation.temperature)
        temperatures = {f"T = {e.temperature:g}": e for e in by_temperature}
        boxes, curves = {}, {}
        if published is not None:
            boxes = {f"T = {key}": value for key, value in published.by_temperature("localisation").items()}
            lists = published.by_temperature(METRIC).items()
            curves = {f"T = {key}": charts.published_curve(values) for key, values in lists}
        own = {name: e.localisation()["contributions"] for name, e in temperatures.items()}
        charts.plot_boxes(axes[0, 1], own, boxes, first.chance)
        own = {name: e.curves(METRIC)["contributions"] for name, e in temperatures.items()}
        charts.plot_curves(axes[1, 1], own, curves)
    return figure
