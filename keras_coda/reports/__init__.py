"""An evaluation of attribution methods on a model as a page: tables, curves, example maps.

keras_coda.reports.evaluate(subject, "evaluation", methods)
"""

from keras_coda.reports.evaluate import REPORT, evaluate, methods_of
from keras_coda.reports.evaluation import Evaluation
from keras_coda.reports.published_scores import Published
from keras_coda.reports.report import summary_lines
from keras_coda.reports.subject import Subject

__all__ = ["REPORT", "Evaluation", "Published", "Subject", "evaluate", "methods_of", "summary_lines"]
