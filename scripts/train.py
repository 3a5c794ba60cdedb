"""Train by a recipe: `keras-coda train`, without an installation.

python scripts/train.py xs_coda_digits --out my_digits
"""

import sys

from keras_coda import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
