"""Make a preset of the files from a GPU machine, and check it here.

    python scripts/gpu_join.py build/gpu/back --out s_coda_cifar10 --data cifar10.npz --half
    python scripts/gpu_join.py build/gpu/back --out zoo/xl_coda_tinyimagenet --data arrays --half --parts

The folders hold the files of one preset of `gpu_train.py`, in any subfolders. Prints the accuracy on some test images
and the completeness residual of explanations, for the weights as received and as written, beside the values measured on
the GPU. Exits with status 1 if they do not agree.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
from gpu import arrays

from keras_coda import data, presets
from keras_coda.presets import weights

PART_BYTES = 15 * 2**20
# Allowed residual relative to the logits, and allowed deviation of the accuracy on some images, in standard errors.
RESIDUAL, STANDARD_ERRORS = 1e-4, 4
EXPLAINED = 8


def gathered(folders, target):
    """Put the files of one preset into `target`.

    Raises:
        ValueError: a file is there twice, with different contents.
    """
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        if path.name in ("config.json", "metadata.json") or weights.is_weights(path.name):
            place = target / path.name
            if place.exists() and place.read_bytes() != path.read_bytes():
                raise ValueError(f"{path} is there twice, with different contents. Expected: the files of one preset")
            shutil.copyfile(path, place)
    return target


def checked(model, dataset, count):
    """Accuracy on the first `count` test images, and the largest completeness residual of a few."""
    images, labels = np.asarray(dataset.x_test[:count]), dataset.y_test[:count]
    accuracy = float(np.mean(model.predict(images, batch_size=64, verbose=0).argmax(-1) == labels))
    residual = float(np.max(model.explain(images[:EXPLAINED], batch_size=EXPLAINED).relative_residual))
    return {"accuracy": accuracy, "images": len(images), "completeness_residual": residual}


def agrees(found, promised):
    """Whether a check agrees with the results in the preset, within the error of so few images."""
    accuracy = promised.get("test_accuracy", found["accuracy"])
    error = max(np.sqrt(accuracy * (1 - accuracy) / found["images"]), 1 / found["images"])
    near = abs(found["accuracy"] - accuracy) <= STANDARD_ERRORS * error
    return bool(near and found["completeness_residual"] < RESIDUAL)


def main(arguments=None):
    """Join, check, write, and check again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the preset to write")
    parser.add_argument("--data", required=True, help="name of a data set, .npz file, or folder of arrays")
    parser.add_argument("--name", help="of the preset (default: that of the folder)")
    parser.add_argument("--images", type=int, default=1000, help="test images to check on (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="write weights in float16")
    parser.add_argument("--parts", action="store_true", help="write weights in parts of 15 MiB")
    arguments = parser.parse_args(arguments)
    is_folder = pathlib.Path(arguments.data).is_dir()
    dataset = arrays.load(arguments.data) if is_folder else data.load(arguments.data)
    with tempfile.TemporaryDirectory() as name:
        folder = gathered(arguments.folders, pathlib.Path(name))
        model, facts = presets.load(folder), presets.metadata(folder)
        came = checked(model, dataset, arguments.images)
        results = {**facts["results"], "completeness_residual": came["completeness_residual"]}
        presets.save(
            model,
            arguments.out,
            name=arguments.name or arguments.out.resolve().name,
            results=results,
            overwrite=True,
            weights_dtype="float16" if arguments.half else "float32",
            part_bytes=PART_BYTES if arguments.parts else None,
            **{key: facts[key] for key in ("dataset", "classes", "description", "image_shape", "license")},
        )
    written = checked(presets.load(arguments.out), dataset, arguments.images)
    print(json.dumps({"promised": facts["results"], "as it came": came, "as written": written}, indent=1))
    if not (agrees(came, facts["results"]) and agrees(written, facts["results"])):
        print("gpu_join.py: the network here is not the one that was measured there", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
