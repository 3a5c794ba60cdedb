"""The command line, `keras-coda`: what each command takes, and what it does."""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from keras_coda import (
    attributions,
    backend,
    data,
    export_command,
    metrics,
    photo_commands,
    plots,
    presets,
    reports,
    training,
)
from keras_coda.explanations import explain, explain_video
from keras_coda.images import check_kept, image_files, read_image
from keras_coda.imports import check_evaluation
from keras_coda.text import printable
from keras_coda.version import __version__

DESCRIPTION = """\
CoDA-Nets: image classifiers that explain themselves.

A CoDA-Net computes every logit as W(x) x, with a matrix W(x) that depends on the image. So each prediction is the sum
of the contributions of the image's pixels. Start with:

  keras-coda demo

The Keras backend (tensorflow, jax or torch) is set by the environment variable KERAS_BACKEND. The default is the one
in ~/.keras/keras.json, or else the first one that is installed."""

DEMO = """\
Loads a small CoDA-Net that comes with the package, classifies 360 handwritten digits that it was not trained on,
explains them, checks that the contributions add up to the logits, and saves pictures. Needs no network."""

EXPLAIN = """\
Classifies images. For each it saves a picture with the contributions of its pixels to the predicted class and to the
strongest other class: red speaks for the class, blue against it. Files that cannot be read are reported and skipped.
Images of another size than that of the training are scaled, keeping their proportions, and cropped about their
centre."""

EXPLAIN_EXAMPLES = """\
examples:
  keras-coda explain three.png seven.png --preset xs_coda_digits --out explained
  keras-coda explain photos --preset ./my_preset --target goldfinch"""

EXPLAIN_VIDEO = """\
Explains a video, an animation or a folder of images frame by frame, and writes a video with every frame beside its
weights and contributions, all on one scale. Formats other than GIF and WebP need pip install "keras-coda[video]"."""

EXPLAIN_VIDEO_EXAMPLES = """\
examples:
  keras-coda explain-video goldfinch.mp4 --preset ./my_preset --target goldfinch --out explained.mp4
  keras-coda explain-video frames/ --out explained.gif --fps 12"""

EVALUATE = """\
Compares attribution methods with their published settings on a preset or a saved Keras model, by the paper's metrics
or others. Writes a folder with the scores (results.csv) and a report for any browser (report.html). After an
interruption the same command resumes, and methods can be added later. If the preset is given as a folder, accuracies,
and localisation and removal by contributions, are written into its metadata.json."""

EVALUATE_EXAMPLES = """\
examples:
  keras-coda evaluate xs_coda_digits --methods contributions gradient grad_cam --grids 20 --images 64 --out evaluation
  keras-coda evaluate ./my_preset --methods contributions --out evaluation
  keras-coda evaluate my_resnet.keras --dataset my_data.npz --metrics insertion deletion --out evaluation"""

PRESETS = "Lists the presets, or prints the metadata of one: data set, classes, input, measured results."

TRAIN = """\
Trains a network by a recipe and saves it as a preset folder for `keras-coda explain --preset` and
`keras_coda.presets.load`. A second folder gets the logs: a table of the epochs, and pictures of how the contribution
maps of a few test images sharpen. After an interruption or a kill the same command resumes after the last whole epoch,
with the same losses."""

TRAIN_EXAMPLES = """\
examples:
  keras-coda train --out my_digits
  keras-coda train my_recipe.json --out my_preset --epochs 5
  keras-coda train s_coda_cifar10 --limit-minutes 30 --tensorboard
  keras-coda train --images photos/ --out my_photos
  keras-coda train --images photos/ --out my_photos --start xs_coda_cifar10 --freeze dau_1 dau_2
  keras-coda train my_recipe.json --out my_preset --devices 2
  keras-coda train my_recipe.json --out my_preset --start ./preset_of_a_lower_temperature"""

DIGITS = "xs_coda_digits"
# Number of images in a picture of the demo, and the most logits that it explains.
DRAWN, MOST_EXPLAINED = 6, 5000


def say(line: object) -> None:
    print(printable(line), flush=True)


def complain(line: object) -> None:
    print(f"keras-coda: {printable(line)}", file=sys.stderr, flush=True)


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Show a warning of this package as one line for each of its own, and others as Python does."""
    if pathlib.Path(filename).is_relative_to(pathlib.Path(__file__).parent):
        for text in str(message).splitlines():
            complain(text)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="", flush=True)


def run_demo(arguments):
    """Load, classify, explain, draw."""
    metadata = presets.metadata(arguments.preset)
    model = presets.load(arguments.preset)
    parameters = f"{model.count_params():,} parameters"
    say(f"Loaded {metadata['name']}: {parameters}, on the {keras.backend.backend()} backend")
    dataset = data.load(metadata["dataset"])
    classes = metadata["classes"]
    count = max(DRAWN, MOST_EXPLAINED // len(classes))
    images, labels = dataset.x_test[:count], dataset.y_test[:count]

    say(f"Classifying {len(images)} images that it was not trained on, and explaining {len(classes)} logits of each")
    explanation = explain(model, images, "all", verbose=1)
    predicted = np.argmax(explanation.logits, axis=-1)
    correct = predicted == labels
    say(f"Accuracy: {np.mean(correct):.1%} ({np.sum(correct)} of {len(labels)})")
    residual = np.max(explanation.relative_residual)
    say(
        f"Completeness: sum of contributions + b0 = logit, with a residual of at most {residual:.1e} of the logit or b0"
    )

    first_of_each = [np.flatnonzero(correct & (labels == label))[:1] for label in range(len(classes))]
    pictures = {"digits.png": np.concatenate(first_of_each), "mistakes.png": np.flatnonzero(~correct)}
    for name, chosen in pictures.items():
        if len(chosen):
            pairs = plots.target_and_strongest_other(explanation.logits[chosen], labels[chosen])
            plots.plot_explanation_gallery(
                images[chosen],
                explain(model, images[chosen], pairs),
                classes=classes,
                labels=labels[chosen],
                path=arguments.out / name,
                max_images=DRAWN,
            )
            say(f"Drew {arguments.out / name}")


def run_explain(arguments):
    """Explain image files."""
    metadata = presets.metadata(arguments.preset)
    classes = metadata["classes"]
    target = target_of(arguments.target, classes)
    target = None if target is None else np.array([target])
    images = [path for given in arguments.images for path in (image_files(given) if given.is_dir() else [given])]
    if not images:
        raise ValueError(
            f"Expected images, or a folder of them. Received: {[*map(str, arguments.images)]}, without any"
        )
    pictures = pictures_of(images, arguments.out)
    model, unread = presets.load(arguments.preset), []
    for number, (path, picture) in enumerate(zip(images, pictures, strict=True), start=1):
        try:
            image = read_image(path, metadata["image_shape"], metadata["data_format"])[np.newaxis]
        except (ValueError, OSError) as error:
            complain(error)
            unread.append(path)
            continue
        logits = model.predict(image, verbose=0)
        pair = plots.target_and_strongest_other(logits, target)
        explanation = explain(model, image, pair)
        plots.plot_explanation_gallery(
            image, explanation, classes=classes, path=picture, data_format=metadata["data_format"]
        )
        predicted = int(np.argmax(logits))
        probability = 1 / (1 + np.exp(-float(logits[0, predicted])))
        residual = np.max(np.abs(explanation.residual))
        say(
            f"[{number}/{len(images)}] {path}: {classes[predicted]}, p = {probability:.2f}, "
            f"logit {logits[0, predicted]:.2f}, completeness residual {residual:.1e} -> {picture}"
        )
    if len(images) > 1 and unread:
        complain(f"{len(unread)} of {len(images)} images were not read: {', '.join(map(str, unread))}")
    return 2 if unread else 0


def pictures_of(images, folder):
    """Paths of the pictures to write, one for each image. No picture may replace an image or another picture."""
    names = [path.stem for path in images]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"Pictures are named for their images, whose names must differ. Received twice: {repeated}")
    pictures = [folder / f"{name}.png" for name in names]
    with_images = {path.resolve().parent for path in images}
    taken = [picture for picture in pictures if picture.exists() and folder.resolve() in with_images]
    if taken:
        raise ValueError(
            f"--out must not be the folder of the images where pictures would take the place of files. "
            f"Received: {folder}, with {', '.join(map(str, taken))}"
        )
    check_kept(images, pictures)
    return pictures


def target_of(name, classes):
    """The index of the class that --target names; `None` without --target."""
    if name is not None and name not in classes:
        raise ValueError(f"--target must be one of {', '.join(classes)}. Received: {name}")
    return None if name is None else classes.index(name)


def run_explain_video(arguments):
    """Explain a video."""
    metadata = presets.metadata(arguments.preset)
    target = target_of(arguments.target, metadata["classes"])
    count = explain_video(
        presets.load(arguments.preset),
        arguments.video,
        arguments.out,
        target=target,
        classes=metadata["classes"],
        image_shape=tuple(metadata["image_shape"]),
        unit_range=True,
        frames_a_second=arguments.fps,
        verbose=1,
    )
    say(f"Wrote {arguments.out}, {count} frames")


def run_evaluate(arguments):
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


def run_export(arguments):
    """Write a preset to a file of another format."""
    say(export_command.run(arguments))


def run_presets(arguments):
    """List presets, or print the metadata of one."""
    if arguments.preset is not None:
        for line in json.dumps(presets.metadata(arguments.preset), indent=2).splitlines():
            say(line)
        return
    for info in presets.list_presets():
        weights = "released" if info.released else "weights not released"
        say(f"{info.name:22} {info.dataset:14} {info.classes:4} classes   {weights}")
        say(f"    {info.description}")


def run_train(arguments):
    """Train by a recipe, or by one chosen for a folder of photos."""
    if arguments.images is None and arguments.recipe is None:
        arguments.recipe = DIGITS
    recipe = photo_commands.recipe_of(arguments)
    # A recipe for photos has the name of their folder, which may be here.
    name = f"my_{recipe.name}" if data.dataset.is_photos(recipe.dataset) else recipe.name
    out = pathlib.Path(name) if arguments.out is None else arguments.out
    logs = out.parent / f"{out.name}.logs" if arguments.logs is None else arguments.logs
    names = {field.name for field in dataclasses.fields(training.Options)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    _, results = training.train(recipe, out, training.Options(**{**given, "logs": logs}))
    if backend.process()[0] != 0:
        return
    for name, value in results.items():
        say(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    say(f"Wrote {out}, and logs to {logs}")
    say(f"Explain an image with it: keras-coda explain IMAGE --preset {out.resolve()}")


def number_or_all(text):
    return text if text == "all" else int(text)


def parser():
    """The argument parser of `keras-coda`."""

    def add(name, run, description, examples=None):
        command = commands.add_parser(
            name,
            description=description,
            epilog=examples,
            help=" ".join(description.split()).replace("%", "%%"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    root = argparse.ArgumentParser(
        prog="keras-coda", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    version = f"keras-coda {__version__} (Keras {keras.__version__}, {keras.backend.backend()})"
    root.add_argument("--version", action="version", version=version, help="print the versions and the backend")
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = add("demo", run_demo, DEMO)
    command.add_argument("--preset", default=DIGITS, help="a preset for digits (default: %(default)s)")
    out = pathlib.Path("keras-coda-demo")
    command.add_argument("--out", type=pathlib.Path, default=out, help="folder for the pictures (default: %(default)s)")

    command = add("explain", run_explain, EXPLAIN, EXPLAIN_EXAMPLES)
    command.add_argument(
        "images", nargs="+", type=pathlib.Path, metavar="IMAGE", help="image files, or folders of them"
    )
    command.add_argument("--preset", default=DIGITS, help="a name, a folder or hf://user/repo (default: %(default)s)")
    command.add_argument("--target", help="name of the class to explain (default: the predicted one)")
    out = pathlib.Path("explanations")
    command.add_argument("--out", type=pathlib.Path, default=out, help="folder for the pictures (default: %(default)s)")

    command = add("explain-video", run_explain_video, EXPLAIN_VIDEO, EXPLAIN_VIDEO_EXAMPLES)
    command.add_argument("video", type=pathlib.Path, help="a video or animation, or a folder of images")
    command.add_argument("--preset", default=DIGITS, help="a name, a folder or hf://user/repo (default: %(default)s)")
    command.add_argument("--target", help="name of the class to explain (default: the one predicted for each frame)")
    out = pathlib.Path("explained.gif")
    command.add_argument("--out", type=pathlib.Path, default=out, help="file to write (default: %(default)s)")
    command.add_argument("--fps", type=float, help="frames a second (default: those of the video, or 10)")

    command = add("evaluate", run_evaluate, EVALUATE, EVALUATE_EXAMPLES)
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
    out = pathlib.Path("evaluation")
    command.add_argument("--out", type=pathlib.Path, default=out, help="folder (default: %(default)s)")

    command = add("export", run_export, export_command.EXPORT, export_command.EXPORT_EXAMPLES)
    export_command.add_arguments(command)

    command = add("presets", run_presets, PRESETS)
    command.add_argument("preset", nargs="?", help="a name, a folder or hf://user/repo")

    command = add("train", run_train, TRAIN, TRAIN_EXAMPLES)
    command.add_argument(
        "recipe",
        nargs="?",
        help=f"a name, see keras-coda recipe, or JSON file (default: {DIGITS}, or one for the --images)",
    )
    photo_commands.add_images(command)
    command.add_argument(
        "--out", type=pathlib.Path, help="preset folder to write (default: the recipe's name, for photos my_ before it)"
    )
    command.add_argument("--epochs", type=int, help="in place of the recipe's")
    command.add_argument("--devices", type=number_or_all, help='how many share each batch, or "all" (default: one)')
    command.add_argument(
        "--start", help="a preset's name or folder, whose weights to start from (default: random ones)"
    )
    command.add_argument("--data-dir", type=pathlib.Path, help="where TFDS keeps its data (default: its own)")
    command.add_argument("--logs", type=pathlib.Path, help="folder of logs (default: that of the preset, with .logs)")
    command.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard, too")
    command.add_argument("--limit-minutes", type=float, help="train as many epochs as fit, with the whole schedule")
    command.add_argument("--overwrite", action="store_true", help="replace the preset folder if it is there")

    command = add("recipe", photo_commands.run_recipe, photo_commands.RECIPE, photo_commands.RECIPE_EXAMPLES)
    command.add_argument(
        "recipe", nargs="?", help="a name or JSON file (default with --images: one by their size and number)"
    )
    photo_commands.add_images(command)
    command.add_argument(
        "--start", help="a preset to start from, whose network and image shape are taken, not a recipe's"
    )
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `keras-coda` and return its exit status: 0; 2 after a wrong input, or a file not read; 130 when stopped."""
    parsed = parser().parse_args(arguments)
    backend.keep_compiled()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return parsed.run(parsed) or 0
    except KeyboardInterrupt:
        print("keras-coda: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        # Where Keras has added the arguments of a call to a message, the message is between escape codes.
        message = re.search("\x1b\\[1m(.*)\x1b\\[0m", str(error), re.DOTALL)
        complain(message[1] if message else error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
