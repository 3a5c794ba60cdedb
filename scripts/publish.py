"""Upload a preset to the Hugging Face Hub, with a model card.

    hf auth login  # or set HF_TOKEN
    python scripts/publish.py my_preset user/my_preset --images cat.png dog.png

The folder is one that `keras_coda.presets.save` or `keras-coda train` wrote. Prints the URL of the commit.
"""

import argparse
import pathlib
import sys

import numpy as np

from keras_coda import presets
from keras_coda.images import read_image


def main(arguments=None):
    """Publish one preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of the preset, or its name")
    parser.add_argument("repo_id", metavar="user/repo", help="repository, made where it is not there")
    parser.add_argument("--revision", help="branch, made where it is not there (default: the main one)")
    parser.add_argument("--private", action="store_true", help="make the repository private; refuse a public one")
    parser.add_argument("--message", help="of the commit (default: the preset's name)")
    parser.add_argument("--images", type=pathlib.Path, nargs="+", metavar="IMAGE", help="to explain on the card")
    parser.add_argument("--space", action="store_true", help="make a page for it, too, a Space of the same name")
    arguments = parser.parse_args(arguments)
    try:
        images = None
        if arguments.images:
            facts = presets.metadata(arguments.folder)
            shape, data_format = tuple(facts["image_shape"]), facts["data_format"] or "channels_last"
            read = [read_image(path, shape, data_format) for path in arguments.images]
            shapes = sorted({image.shape for image in read})
            if len(shapes) > 1:
                raise ValueError(f"Expected --images of one size, since the preset takes any. Received: {shapes}")
            images = np.stack(read)
        options = {name: getattr(arguments, name) for name in ("revision", "private", "message", "space")}
        print(presets.publish(arguments.folder, arguments.repo_id, images=images, **options))
    except (ValueError, OSError, ImportError) as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
