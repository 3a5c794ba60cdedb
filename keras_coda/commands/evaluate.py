"""The command `keras-coda evaluate`, which compares attribution methods on a model."""

import pathlib

from keras_coda import attributions, metrics, presets, reports
from keras_coda.commands.arguments import add_out
from keras_coda.commands.output import say
from keras_coda.imports import check_evaluation

DESCRIPTION = """\
Compares attribution methods with their published settings on a preset or a saved Keras model, by the paper's metrics
or others. Writes a folder with the scores (results.csv) and a report for any browser (report.html). After an
interruption the same command resumes, and methods can be added later. If the preset is given as a folder, accuracies,
and localisation and removal by contributions, are written into its metadata.json."""

EXAMPLES = """\
examples:
  keras-coda evaluate xs_coda_digits --methods contributions gradient grad_cam --grids 20 --images 64 --out evaluation
  keras-coda evaluate ./my_preset --methods contributions --out evaluation
  keras-coda evaluate my_resnet.keras --dataset my_data.npz --metrics insertion deletion --out evaluation"""


def add_arguments(command):
    """Add the arguments of `keras-coda evaluate` to its parser."""
    command.add_argument("model", help="a preset's name or folder, or a .keras file")
    command.add_argument("--dataset", help="a name, an .npz file, or a folder of photos (default: the preset's)")
    command.add_argument("--data-dir", help="where TFDS keeps its data")
    command.add_argument(
        "--unit-range",
        action="store_true",
        help="the model of a .keras file takes floats in [0, 1]: divide images in 0..255, such as photos, by 255",
    )
    command.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help=f"of {', '.join(attributions.published('cifar10'))} "
        "(default: all that the model admits, which may take days on a CPU)",
    )
    command.add_argument(
        "--settings",
        default="cifar10",
        choices=("cifar10", "tinyimagenet"),
        help="the data set whose published settings the methods have (default: %(default)s)",
    )
    command.add_argument(
        "--definition",
        default="paper",
        choices=("paper", "paper_code"),
        help="whether settings are those of the paper's text, or those behind its published scores, for cifar10 "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--metrics",
        nargs="+",
        default=["localisation", "removal_least_first"],
        choices=metrics.METRICS,
        metavar="METRIC",
        help=f"of {', '.join(metrics.METRICS)} (default: %(default)s)",
    )
    command.add_argument("--grid-size", type=int, default=3, help="images in a row of a grid (default: %(default)s)")
    command.add_argument("--grids", type=int, default=500, help="grids for localisation (default: %(default)s)")
    command.add_argument("--images", type=int, default=1024, help="images for other metrics (default: %(default)s)")
    command.add_argument("--points", type=int, default=129, help="points of a curve (default: %(default)s)")
    command.add_argument("--sanity", type=int, default=0, help="images for the sanity check (default: no check)")
    command.add_argument("--published", type=pathlib.Path, help="JSON file of published scores to show beside these")
    command.add_argument("--seed", type=int, default=0, help="draws the grids (default: %(default)s)")
    command.add_argument("--batch-size", type=int, default=32, help="images evaluated at once (default: %(default)s)")
    add_out(command, "evaluation", "folder")


def run(arguments):
    """Evaluate attribution methods on a model."""
    # First, so that these errors come before hours of work.
    check_evaluation()
    published = None if arguments.published is None else reports.Published(arguments.published)
    subject = reports.Subject.load(arguments.model, arguments.dataset, arguments.data_dir, arguments.unit_range)
    methods = reports.methods_of(
        subject.model, arguments.methods, arguments.settings, arguments.batch_size, arguments.definition
    )
    evaluation = reports.evaluate(
        subject,
        arguments.out,
        methods,
        metrics.Protocol(
            metrics=arguments.metrics,
            grid_size=arguments.grid_size,
            grids=arguments.grids,
            removed=arguments.images,
            points=arguments.points,
            seed=arguments.seed,
        ),
        sanity=arguments.sanity,
        published=published,
        batch_size=arguments.batch_size,
    )
    for line in reports.summary_lines(evaluation.summary):
        say(line)
    say(f"Wrote {arguments.out / reports.REPORT}")
    if subject.folder is None:
        say("The metadata stay as they are: results go only into a preset that is a folder, on its own data set")
    else:
        say(f"Wrote the results into {presets.add_results(subject.folder, evaluation.preset_results())}")
