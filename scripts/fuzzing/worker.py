"""The process that runs cases, and what it must leave alone."""

import importlib
import json
import os
import resource
import shutil
import sys
import traceback
import warnings

import h5py
import numpy as np

from fuzzing.outcomes import ERROR, MEMORY, OUTSIDE

# Modules of this package. Each has a class `Cases`.
KINDS = ("presets", "checkpoints", "images")
# Bytes of memory that a case may take above that before the first one.
GROWTH = 2 * 2**30
PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect")


def work(root, first, last, seed, chosen, verbose=False):
    """Run cases, and report the start and the outcome of each to the parent process."""
    warnings.simplefilter("ignore")
    report = os.fdopen(int(os.environ["FUZZ_REPORT"]), "w") if "FUZZ_REPORT" in os.environ else sys.stdout
    kinds = [importlib.import_module(f"fuzzing.{name}").Cases(root / "originals") for name in chosen]
    shares = np.array([kind.share for kind in kinds])
    secrets, opened = outside_of(root), []
    (root / "cases").mkdir(exist_ok=True)
    (root / "here").mkdir(exist_ok=True)
    os.chdir(root / "here")

    def hook(event, arguments):
        # Python reports the files that it opens here. HDF5 opens files by itself, which shows in the loaded values.
        if event == "open" and str(root / "outside") in os.path.realpath(str(arguments[0])):
            opened.append(str(arguments[0]))
        elif event in PROGRAMS:
            opened.append(event)

    sys.addaudithook(hook)
    print(json.dumps(["ready"]), file=report, flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        rng = np.random.default_rng([seed, number])
        index = int(rng.choice(len(kinds), p=shares / shares.sum()))
        folder = root / "cases" / str(number)
        print(json.dumps(["begin", number, chosen[index]]), file=report, flush=True)
        opened.clear()
        try:
            outcome, what = kinds[index].run(rng, folder)
        except Exception as error:
            outcome, what = ERROR, f"{type(error).__name__}: {error}"[:300]
            if verbose:
                traceback.print_exc()
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if growth > GROWTH:
            outcome, what = MEMORY, f"{growth:,} bytes more; {outcome}: {what}"
        # Links to files outside are followed as usual. Their targets must be refused, since they are no presets.
        if any(name in PROGRAMS for name in opened) or outside_of(root) != secrets:
            outcome, what = OUTSIDE, f"{opened}; {outcome}: {what}"
        print(json.dumps(["end", number, chosen[index], outcome, what, growth]), file=report, flush=True)
        shutil.rmtree(folder, ignore_errors=True)


def outside_of(root):
    """The files beside the cases, which no case may change."""
    found = {}
    for folder in ("outside", "here", "originals"):
        for path in sorted((root / folder).rglob("*")) if (root / folder).exists() else ():
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


def make_outside(root):
    """Files beside the cases, to which damaged presets may have links."""
    (root / "originals").mkdir()
    (root / "outside").mkdir(exist_ok=True)
    (root / "outside" / "secret.json").write_text('{"secret": 1}')
    if not (root / "outside" / "secret.h5").exists():
        with h5py.File(root / "outside" / "secret.h5", "w") as file:
            file["x"] = np.ones(10**4, "float32")
