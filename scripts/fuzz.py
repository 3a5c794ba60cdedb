"""Load damaged and hostile presets, checkpoints and images, and count the outcomes.

    KERAS_BACKEND=torch python scripts/fuzz.py --cases 5000
    KERAS_BACKEND=torch python scripts/fuzz.py --only 1234    # one case again, with its traceback

The seed and the number of a case determine it. It must load what was saved, or raise the documented error. A worker
process runs the cases, each with a time limit. A worker that hangs or dies is counted and replaced.
"""

import argparse
import collections
import copy
import io
import json
import os
import pathlib
import pickle
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from typing import Any

import numpy as np

# Limits of a case: seconds, and bytes of memory above that before the first case.
LIMIT, GROWTH = 30, 2 * 2**30
EQUAL, AS_WRITTEN, REFUSED = "loaded, equal", "loaded, as written", "documented error"
GOOD = (EQUAL, AS_WRITTEN, REFUSED)
BAD = (
    "loaded, other than saved",
    "another error",
    "hang",
    "crash",
    "memory",
    "something outside changed or was opened",
)
VALUES: tuple = (
    None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**30, 0.5, -0.0, 1e-300, 1e300, "", "a", "linear", "relu",
    "float32",
    "bfloat16", "../../outside", "/dev/zero", "keras_coda>CoDANet", "\x00", "\ud800", "\x1b[2J", [], {},
    [[]], [None], [1] * 2000,
    {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"},
    {"class_name": "Lambda", "module": "keras.layers", "config": {}, "registered_name": None},
    {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
)  # fmt: skip


# Changes


def flip_bits(rng, content):
    """Flip one bit, sometimes two or sixteen."""
    content = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 16]))):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def cut(rng, content):
    return content[: rng.integers(len(content))]


def insert(rng, content):
    at = rng.integers(len(content) + 1)
    return content[:at] + rng.bytes(int(rng.choice([1, 4, 1000]))) + content[at:]


def remove(rng, content):
    at, count = rng.integers(len(content)), int(rng.choice([1, 4, 100]))
    return content[:at] + content[at + count :]


def repeat(rng, content):
    start, end = sorted(rng.integers(len(content) + 1, size=2))
    return content[:end] + content[start:]


def zeros(rng, content):
    at, count = rng.integers(len(content)), int(rng.choice([1, 8, 512]))
    return (content[:at] + bytes(count) + content[at + count :])[: len(content)]


def noise(rng, content):
    return rng.bytes(int(rng.choice([0, 1, 100, len(content)])))


DAMAGES = (flip_bits, flip_bits, flip_bits, cut, insert, remove, repeat, zeros, noise)


def damage(rng, path):
    change = DAMAGES[rng.integers(len(DAMAGES))]
    before = path.read_bytes()
    path.write_bytes(change(rng, before))
    return f"{change.__name__} of {path.name}"


def replace_file(rng, path):
    """Replace a file by nothing, a directory, a pipe, or a link to something else."""
    content = path.read_bytes()
    path.unlink()
    kind = rng.choice(["nothing", "directory", "pipe", "/dev/zero", "/dev/urandom", "loop", "link", "secret"])
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link":  # as in the Hub's cache
        path.with_name("blob").write_bytes(content)
        path.symlink_to("blob")
    elif kind == "secret":
        path.symlink_to("../../outside/secret.json")
    elif kind != "nothing":
        path.symlink_to(kind)
    return f"{kind} in the place of {path.name}"


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def edit_json(rng, path):
    """Replace or remove a value somewhere in a JSON file."""
    value = json.loads(path.read_text())
    found = [place for place in places(value) if place]
    place = found[rng.integers(len(found))]
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    which = rng.integers(4)
    if which == 0:
        del holder[place[-1]]
    elif which == 1:
        others = [other for other in places(value) if other]
        other = value
        for key in others[rng.integers(len(others))]:
            other = other[key]
        holder[place[-1]] = copy.deepcopy(other)
    else:
        holder[place[-1]] = VALUES[rng.integers(len(VALUES))]
    text = json.dumps(value, indent=2)
    if rng.random() < 0.1:
        text = text.replace("1", str(rng.choice(["1e999", "NaN", "-Infinity", "1" * 5000])), 1)
    path.write_text(text)
    return f"{path.name}: {'.'.join(map(str, place))}"


# Presets


class Presets:
    """Presets of two networks, in one file and in parts."""

    share = 0.5

    def __init__(self, root):
        import keras

        import keras_coda
        from keras_coda import presets

        self.presets, self.keras = presets, keras
        net = keras_coda.CoDANet(
            [4, 3], [3, 1], [3, 2], [2, 1], 4.0, image_shape=(8, 8, 3), data_format="channels_last", name="net"
        )
        dense = [keras.layers.Flatten(), keras.layers.Dropout(0.5), keras_coda.DAUDense(3, 2), keras.layers.Dense(3)]
        chain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(2.0), *dense], name="chain")
        facts = presets.Facts("Noise", ["cat", "dog", "eel"], results={"test_accuracy": 0.5})
        self.originals = []
        for number, model in enumerate((net, chain)):
            for parts in (None, 3000):
                folder = root / f"preset{number}{parts}"
                presets.save(model, folder, facts, part_bytes=parts)
                self.originals.append((folder, *self.loaded(folder)))

    def loaded(self, folder):
        model = self.presets.load(folder)
        return json.dumps(model.get_config(), default=str), model.get_weights(), self.presets.metadata(folder)

    def run(self, rng, folder):
        source, config, weights, facts = self.originals[rng.integers(len(self.originals))]
        shutil.copytree(source, folder)
        files = sorted(folder.iterdir())
        kind = rng.choice(["bytes", "bytes", "file", "json", "sealed", "sealed", "hdf5", "rename", "untouched"])
        what = getattr(self, f"_{kind}")(rng, folder, files)
        hostile = kind in ("sealed", "hdf5")
        try:
            if rng.random() < 0.1:
                self.presets.load(folder, load_weights=False)
            got = self.loaded(folder)
        except self.presets.PresetError as error:
            # An unchanged preset must load. An error means that an earlier case has left something in the process.
            return (BAD[1], str(error)) if kind == "untouched" else (REFUSED, what)
        equal = got[0] == config and got[2] == facts and len(got[1]) == len(weights)
        if equal and all(np.array_equal(a, b) for a, b in zip(got[1], weights, strict=True)):
            return EQUAL, what
        # With new checksums this is another valid preset. It must load as written.
        sane = sum(array.size for array in got[1]) == got[2]["parameters"] and all(map(_finite, got[1]))
        return (AS_WRITTEN if hostile and sane else BAD[0]), what

    def _untouched(self, rng, folder, files):
        return "nothing changed"

    def _bytes(self, rng, folder, files):
        return damage(rng, files[rng.integers(len(files))])

    def _file(self, rng, folder, files):
        return replace_file(rng, files[rng.integers(len(files))])

    def _json(self, rng, folder, files):
        return edit_json(rng, folder / str(rng.choice(["config.json", "metadata.json"])))

    def _rename(self, rng, folder, files):
        """Replace a file by that of another preset, or exchange two files."""
        name = files[rng.integers(len(files))].name
        other = self.originals[rng.integers(len(self.originals))][0]
        if (other / name).exists() and rng.random() < 0.5:
            shutil.copy(other / name, folder / name)
            return f"{name} of another preset"
        second = files[rng.integers(len(files))].name
        (folder / name).rename(folder / "other")
        if second != name:
            (folder / second).rename(folder / name)
        (folder / "other").rename(folder / second)
        return f"{name} and {second} exchanged"

    def _sealed(self, rng, folder, files):
        texts = ["config.json", "config.json", "metadata.json"]
        what = edit_json(rng, folder / str(rng.choice(texts)))
        if rng.random() < 0.2:
            what += f", {damage(rng, next(path for path in files if 'weights' in path.name))}"
        _seal(folder, rng.random() < 0.5)
        return f"sealed: {what}"

    def _hdf5(self, rng, folder, files):
        """Write other weights, with their checksum."""
        import h5py

        parts = sorted(path for path in files if "weights" in path.name)
        content = b"".join(path.read_bytes() for path in parts)
        for path in parts:
            path.unlink()
        weights = folder / "model.weights.h5"
        weights.write_bytes(content)
        names = []
        with h5py.File(weights, "r+") as file:
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = names[rng.integers(len(names))]
            kind, shape = (
                rng.choice(["nan", "external", "link", "soft", "huge", "text", "shape", "gone", "loop"]),
                file[name].shape,
            )
            outside = str(folder.parent.parent / "outside" / "secret.h5")
            if kind == "nan":
                file[name][(0,) * len(shape)] = np.nan
            else:
                del file[name]
                if kind == "external":
                    file.create_dataset(name, shape, "float32", external=[(outside, 0, h5py.h5f.UNLIMITED)])
                elif kind == "link":
                    file[name] = h5py.ExternalLink(outside, "x")
                elif kind == "soft":
                    file[name] = h5py.SoftLink("/" + names[0])
                elif kind == "huge":
                    file.create_dataset(name, (2**36,), "float32", chunks=(2**16,))
                elif kind == "text":
                    file[name] = np.full(shape, b"1")
                elif kind == "shape":
                    file[name] = np.ones((*shape, 1), "float32")
                elif kind == "loop":
                    file[name] = file["/"]
        if rng.random() < 0.2:
            damage(rng, weights)
        facts = json.loads((folder / "metadata.json").read_text())
        facts.pop("weights_parts", None)
        (folder / "metadata.json").write_text(json.dumps(facts))
        _seal(folder, True)
        return f"hdf5: {kind} {name}"


def _finite(array):
    return bool(np.isfinite(array.astype("float64")).all())


def _seal(folder, fit_parameters):
    """Write new checksums for the changed files if they can still be read."""
    import hashlib

    from keras_coda.presets import facts as facts_module
    from keras_coda.presets import files

    try:
        facts = json.loads((folder / "metadata.json").read_text())
        facts["weights_sha256"] = hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(folder.glob("model.weights.h5*")))
        ).hexdigest()
        if not fit_parameters:
            facts["parameters"] = int(facts["parameters"]) + 10**9
        facts["config_sha256"] = files.digest(json.loads((folder / "config.json").read_text()))
        facts["metadata_sha256"] = facts_module._sum(facts)
        (folder / "metadata.json").write_text(json.dumps(facts))
    except (ValueError, TypeError, AttributeError):
        pass


# Checkpoints


class Checkpoints:
    """Checkpoints in the authors' format. PyTorch's archives have checksums."""

    share = 0.25

    def __init__(self, root):
        self.arguments: dict[str, Any] = {"strides": (1, 2), "temperature": 3.0}
        import torch

        from keras_coda import presets

        self.torch, self.presets = torch, presets
        generator = torch.Generator().manual_seed(0)
        self.state, channels = {}, 6
        for number, (n, k, r) in enumerate([(4, 3, 2), (3, 1, 2)]):
            d, name = channels * k * k, f"{number}.weight_mod.weighting_f"
            self.state[f"{name}.0.weight"] = torch.rand(r, channels, k, k, generator=generator)
            self.state[f"{name}.1.weight"] = torch.rand(d * n, r, 1, 1, generator=generator)
            self.state[f"{name}.1.bias"] = torch.rand(d * n, generator=generator)
            channels = n
        torch.save(self.state, root / "whole.pt")
        self.content = (root / "whole.pt").read_bytes()
        self.weights = presets.load_checkpoint(root / "whole.pt", **self.arguments).get_weights()

    def run(self, rng, folder):
        folder.mkdir()
        path = folder / "whole.pt"
        path.write_bytes(self.content)
        kind = rng.choice(["bytes", "bytes", "file", "state", "pickle", "zip"])
        what = getattr(self, f"_{kind}")(rng, path)
        try:
            got = self.presets.load_checkpoint(path, **self.arguments).get_weights()
        except self.presets.PresetError:
            return REFUSED, what
        same = [a.shape for a in got] == [a.shape for a in self.weights]
        if same and all(np.array_equal(a, b) for a, b in zip(got, self.weights, strict=True)):
            return EQUAL, what
        return (AS_WRITTEN if kind in ("state", "pickle", "zip") and all(map(_finite, got)) else BAD[0]), what

    def _bytes(self, rng, path):
        return damage(rng, path)

    def _file(self, rng, path):
        return replace_file(rng, path)

    def _zip(self, rng, path):
        """Write a new archive with the same entries, perhaps compressed, of which one may be changed."""
        method = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
        with zipfile.ZipFile(io.BytesIO(self.content)) as old, zipfile.ZipFile(path, "w", method) as new:
            names = [entry.filename for entry in old.infolist()]
            chosen = names[rng.integers(len(names))]
            for name in names:
                content = old.read(name)
                if name == chosen and not name.endswith("data.pkl"):
                    content = content + bytes(int(rng.choice([0, 1, 2**24])))
                elif name == chosen:
                    content = flip_bits(rng, content)
                new.writestr(name, content)
        # A changed key or shape in the pickle gives another valid checkpoint.
        return f"zip: {chosen}"

    def _state(self, rng, path):
        torch, state = self.torch, dict(self.state)
        keys = [*state]
        key = keys[rng.integers(len(keys))]
        value = state.pop(key)
        choices = {
            "nan": lambda: value * float("nan"),
            "expanded": lambda: torch.zeros(1).expand(2**9, 2**9, 2**5, 2**9),
            "sparse": value.to_sparse,
            "complex": lambda: value.to(torch.complex64),
            "half": value.half,
            "bfloat16": value.bfloat16,
            "integers": value.int,
            "empty": lambda: value[:0],
            "scalar": value.sum,
            "transposed": lambda: value.transpose(0, -1),
            "number": lambda: 3,
            "text": lambda: "text",
            "list": lambda: [value],
            "quantised": lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            "meta": lambda: value.to("meta"),
        }
        kind = [*choices][rng.integers(len(choices))]
        names = [key, key, key, (0, key), 3, None, key.upper(), "1" * 5000 + key[1:], key.replace("0.", "00.", 1)]
        name = names[rng.integers(len(names))]
        torch.save({**state, name: choices[kind]()}, path, _use_new_zipfile_serialization=bool(rng.random() < 0.7))
        return f"state: {kind} as {str(name)[:40]!r}"

    def _pickle(self, rng, path):
        """Write something other than a state dict, such as a pickle that opens a file when it is executed."""
        outside = str(path.parent.parent.parent / "outside" / "executed")

        class Evil:
            def __reduce__(self):
                return (open, (outside, "w"))

        things = [Evil(), {"0.weight_mod.weighting_f.0.weight": Evil()}, [], "text", None, {}, {1: 2}, object]
        number = int(rng.integers(len(things)))
        if rng.random() < 0.5:
            path.write_bytes(pickle.dumps(things[number], protocol=int(rng.integers(6))))
        else:
            self.torch.save(things[number], path)
        return f"pickle: {number}"


# Images


class Images:
    """Images in seven formats: gray, colour, transparent, and with EXIF data."""

    share = 0.25
    formats = (("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
               ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F"), ("WEBP", "RGB"), ("PPM", "L"))  # fmt: skip

    def __init__(self, root):
        from PIL import Image

        from keras_coda.images import read_image

        self.read_image, self.originals = read_image, []
        pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), "uint8")
        exif = Image.Exif()
        exif[0x0112] = 6
        for form, mode in self.formats:
            image = Image.fromarray(pixels)
            image = Image.fromarray(pixels[..., 0].astype("uint16")) if mode == "I;16" else image.convert(mode)
            file = io.BytesIO()
            image.save(file, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
            self.originals.append((form.lower(), file.getvalue()))

    def run(self, rng, folder):
        folder.mkdir()
        form, content = self.originals[rng.integers(len(self.originals))]
        path = folder / f"image.{form}"
        path.write_bytes(content)
        kind = rng.choice(["bytes", "bytes", "bytes", "file", "declared"])
        if kind == "declared" and form == "png":  # a size that no memory can hold, with a correct checksum
            import zlib

            size = int(rng.choice([2**14, 2**16, 2**31 - 1])).to_bytes(4, "big")
            header = b"IHDR" + size + size + content[24:29]
            path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
            what = "declared size"
        else:
            what = replace_file(rng, path) if kind == "file" else damage(rng, path)
        channels, sized = int(rng.choice([1, 3])), rng.random() < 0.7
        shape = (8, 8, channels) if sized else (None, None, channels)
        try:
            got = self.read_image(path, shape)
        except (ValueError, OSError) as error:
            return (
                REFUSED if type(error) in (ValueError, FileNotFoundError) or isinstance(error, OSError) else BAD[1]
            ), what
        whole = (
            got.dtype == np.float32
            and got.ndim == 3
            and got.shape[-1] == channels
            and got.min() >= 0
            and got.max() <= 1
        )
        return (AS_WRITTEN if whole and (not sized or got.shape == shape) else BAD[0]), f"{form}: {what}"


KINDS: dict = {"presets": Presets, "checkpoints": Checkpoints, "images": Images}


# The worker


def work(root, first, last, seed, chosen, verbose=False):
    """Run cases, and report the start and the outcome of each to the parent process."""
    warnings.simplefilter("ignore")
    report = os.fdopen(int(os.environ["FUZZ_REPORT"]), "w") if "FUZZ_REPORT" in os.environ else sys.stdout
    kinds = [KINDS[name](root / "originals") for name in chosen]
    shares = np.array([kind.share for kind in kinds])
    secrets, opened = outside_of(root), []
    (root / "cases").mkdir(exist_ok=True)
    (root / "here").mkdir(exist_ok=True)
    os.chdir(root / "here")

    def hook(event, arguments):
        # Python reports the files that it opens here. HDF5 opens files by itself, which shows in the loaded values.
        if event == "open" and str(root / "outside") in os.path.realpath(str(arguments[0])):
            opened.append(str(arguments[0]))
        elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect"):
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
            outcome, what = BAD[1], f"{type(error).__name__}: {error}"[:300]
            if verbose:
                traceback.print_exc()
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if growth > GROWTH:
            outcome, what = BAD[4], f"{growth:,} bytes more; {outcome}: {what}"
        # Links to files outside are followed as usual. Their targets must be refused, since they are no presets.
        read = [name for name in opened if name not in ("open",)]
        if (
            any(name in ("os.system", "subprocess.Popen", "os.exec", "socket.connect") for name in read)
            or outside_of(root) != secrets
        ):
            outcome, what = BAD[5], f"{read}; {outcome}: {what}"
        print(json.dumps(["end", number, chosen[index], outcome, what, growth]), file=report, flush=True)
        shutil.rmtree(folder, ignore_errors=True)


def outside_of(root):
    """The files beside the cases, which no case may change."""
    found = {}
    for folder in ("outside", "here", "originals"):
        for path in sorted((root / folder).rglob("*")) if (root / folder).exists() else ():
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


# The parent


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
            _make_outside(root)
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
                    if outcome == BAD[4] or time.monotonic() > until:
                        current = None
                        break
                else:
                    break
            worker.stop()
            if first < arguments.cases and (line is None or line == "") and current and current[1] >= first:
                outcome = BAD[2] if line is None else BAD[3]
                counts[current[2]][outcome] += 1
                wrong.append((current[1], current[2], outcome, ""))
                print(*wrong[-1], flush=True)
                first = current[1] + 1
    return counts, wrong, most


def _make_outside(root):
    import h5py

    (root / "originals").mkdir()
    (root / "outside").mkdir(exist_ok=True)
    (root / "outside" / "secret.json").write_text('{"secret": 1}')
    if not (root / "outside" / "secret.h5").exists():
        with h5py.File(root / "outside" / "secret.h5", "w") as file:
            file["x"] = np.ones(10**4, "float32")


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
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name).resolve()
            _make_outside(root)
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
