"""The log of a job: lines of JSON, in a file and on the screen."""

import json
import time

BEGAN = time.monotonic()


def seconds():
    """Since the job was started."""
    return time.monotonic() - BEGAN


class Log:
    """Writes lines to a file, each at once.

    Args:
        path: path of the file, to which lines are appended.
    """

    def __init__(self, path):
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, **facts):
        line = json.dumps({"second": round(seconds(), 1), **facts})
        print(line, flush=True)
        self._file.write(line + "\n")
        self._file.flush()
