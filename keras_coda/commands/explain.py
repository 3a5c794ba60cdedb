"""The command `keras-coda explain`, which classifies image files and draws explanations."""

import pathlib

import numpy as np

from keras_coda import explanations, plots, presets
from keras_coda.commands.arguments import add_out, add_preset, target_of
from keras_coda.commands.output import complain, say
from keras_coda.images import check_kept, image_files, read_image

DESCRIPTION = """\
Classifies images. For each it saves a picture with the contributions of its pixels to the predicted class and to the
strongest other class: red speaks for the class, blue against it. Files that cannot be read are reported and skipped.
Images of another size than that of the training are scaled, keeping their proportions, and cropped about their
centre."""

EXAMPLES = """\
examples:
  keras-coda explain three.png seven.png --preset xs_coda_digits --out explained
  keras-coda explain photos --preset ./my_preset --target goldfinch"""


def add_arguments(command):
    """Add the arguments of `keras-coda explain` to its parser."""
    command.add_argument(
        "images", nargs="+", type=pathlib.Path, metavar="IMAGE", help="image files, or folders of them"
    )
    add_preset(command)
    command.add_argument("--target", help="name of the class to explain (default: the predicted one)")
    add_out(command, "explanations", "folder for the pictures")


def run(arguments):
    """Explain image files."""
    metadata = presets.metadata(arguments.preset)
    classes = metadata["classes"]
    index = target_of(arguments.target, classes)
    target = None if index is None else np.array([index])
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
        explanation = explanations.explain(model, image, pair)
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
