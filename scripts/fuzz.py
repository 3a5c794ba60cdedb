"""Load damaged and hostile presets, checkpoints and images, and count the outcomes.

    KERAS_BACKEND=torch python scripts/fuzz.py --cases 5000
    KERAS_BACKEND=torch python scripts/fuzz.py --only 1234    # one case again, with its traceback

The seed and the number of a case determine it. It must load what was saved, or raise the documented error. A worker
process runs the cases, each with a time limit. A worker that hangs or dies is counted and replaced.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

from fuzzing.outcomes import BAD, CRASH, GOOD, HANG, MEMORY
from fuzzing.worker import KINDS, make_outside, work

# Seconds for a case.
LIMIT = 30


class Worker:
    def __init__(self, arguments, root, first):
        read, write = os.pipe()
        command = [
            sys.executable,
            __file__,
            "--worker",
            str(root),
            "--first",
            str(first),
            "--cases",
            str(arguments.cases),
        ]
        command += ["--seed", str(arguments.seed), "--kinds", *arguments.kinds]
        environment = {**os.environ, "FUZZ_REPORT": str(write), "TF_CPP_MIN_LOG_LEVEL": "3"}
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, env=environment, pass_fds=[write], stdout=quiet, stderr=quiet)
        os.close(write)
        self.lines = os.fdopen(read, "rb", buffering=0)
        self.rest = b""

    def next(self, seconds):
        """The worker's next report; `None` if there is none in time, and "" if the worker has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.lines], [], [], max(0, until - time.monotonic()))
            if not ready:
                return None
            part = self.lines.read(65536)
            if not part:
                return ""
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.lines.close()


def run(arguments):
    """Run all cases. Returns the counts of outcomes by kind, the failures, and the largest growth of memory."""
    counts: dict = collections.defaultdict(collections.Counter)
    wrong, most = [], 0
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name).resolve()
        first, until = arguments.first, time.monotonic() + 60 * (arguments.minutes or 1e6)
        while first < arguments.cases and time.monotonic() < until:
            for folder in ("originals", "cases"):
                shutil.rmtree(root / folder, ignore_errors=True)
            make_outside(root)
            worker = Worker(arguments, root, first)
            assert worker.next(300) == ["ready"], "the worker did not start"
            current = None
            while True:
                line = worker.next(LIMIT)
                if line and line[0] == "begin":
                    current = line
                elif line:
                    _, number, kind, outcome, what, growth = line
                    counts[kind][outcome] += 1
                    first, most = number + 1, max(most, growth)
                    if outcome not in GOOD:
                        wrong.append((number, kind, outcome, what))
                        print(*wrong[-1], flush=True)
                    if arguments.verbose and first % 250 == 0:
                        print(first, {kind: dict(count) for kind, count in counts.items()}, flush=True)
                    # Start a new worker. Otherwise this case's memory would count for later cases.
                    if outcome == MEMORY or time.monotonic() > until:
                        current = None
                        break
                else:
                    break
            worker.stop()
            if first < arguments.cases and (line is None or line == "") and current and current[1] >= first:
                outcome = HANG if line is None else CRASH
                counts[current[2]][outcome] += 1
                wrong.append((current[1], current[2], outcome, ""))
                print(*wrong[-1], flush=True)
                first = current[1] + 1
    return counts, wrong, most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--minutes", type=float, help="stop after this time, with fewer cases")
    parser.add_argument("--only", type=int, help="run this one case, in this process")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--verbose", action="store_true", help="print counts every 250 cases")
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.worker, arguments.first, arguments.cases, arguments.seed, arguments.kinds)
        return 0
    if arguments.only is not None:
        # The worker changes the working directory, which must not be one that is removed.
        with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
            root = pathlib.Path(name).resolve()
            make_outside(root)
            work(root, arguments.only, arguments.only + 1, arguments.seed, arguments.kinds, verbose=True)
        return 0
    began = time.monotonic()
    counts, wrong, most = run(arguments)
    outcomes = [*GOOD, *BAD]
    print(f"| {' | '.join(['', 'cases', *outcomes])} |\n|{' --- |' * (len(outcomes) + 2)}")
    for kind, count in counts.items():
        print(f"| {' | '.join([kind, str(count.total()), *(str(count[outcome]) for outcome in outcomes)])} |")
    print(f"{time.monotonic() - began:.0f} s, {most / 2**20:.0f} MiB more than before the cases, seed {arguments.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
