"""The command `keras-coda demo`, which explains digits by a preset that comes with the package."""

import keras
import numpy as np

from keras_coda import data, plots, presets
from keras_coda.commands.arguments import DIGITS, add_out
from keras_coda.commands.output import say
from keras_coda.explanations import explain

DESCRIPTION = """\
Loads a small CoDA-Net that comes with the package, classifies 360 handwritten digits that it was not trained on,
explains them, checks that the contributions add up to the logits, and saves pictures. Needs no network."""
EXAMPLES = None

# Number of images in a picture, and the most logits that are explained.
DRAWN, MOST_EXPLAINED = 6, 5000


def add_arguments(command):
    """Add the arguments of `keras-coda demo` to its parser."""
    command.add_argument("--preset", default=DIGITS, help="a preset for digits (default: %(default)s)")
    add_out(command, "keras-coda-demo", "folder for the pictures")


def run(arguments):
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
