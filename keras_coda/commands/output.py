"""What commands print: text from outside cannot move the cursor."""

import sys

from keras_coda.text import printable


def say(line: object) -> None:
    print(printable(line), flush=True)


def complain(line: object) -> None:
    print(f"keras-coda: {printable(line)}", file=sys.stderr, flush=True)
