"""A folder of photos as a data set: `photos/<class>/*`, or `photos/train/<class>/*` and so on."""

import collections
import functools
import hashlib
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_coda.data.photo_images import FORMATS, PhotoImages, in_turn
from keras_coda.decoding import TOO_LARGE, opened
from keras_coda.files import sha256
from keras_coda.text import printable

# The parts of a data set, by the names that their folders may have.
PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
# Photos are scaled to this side, from this median of their shorter sides on.
SIDES = {0: 32, 48: 64, 160: 128}
# Seconds between two lines on the progress of reading.
SECONDS = 5.0
# An image is near-constant below this standard deviation (of 255), taken at this size.
CONSTANT, THUMBNAIL = 2.0, 32


class PhotosWarning(UserWarning):
    """Problems in a folder of photos: files that were left out, copies, images without content."""


class Photos:
    """A folder of photos with a subfolder for each class. Every file is read once and checked.

    There are two layouts. `photos/<class>/*` is split here into training and test. A split of your own,
    `photos/{train,validation,test}/<class>/*`, is kept ("val" is accepted, and one of "validation" and "test" is
    enough). JPEG, PNG and WebP files are recognised by their content, whatever their names. Hidden files are ignored.

    The part of a photo depends on its bytes and the seed alone. So adding photos does not move others (except
    the first and last of a class), and exact copies are in the same part. The share of the test photos is `held_out` on
    average.

    Args:
        folder: path.
        image_shape: `(H, W, C)` to which images are scaled; H and W may be `None`. Default: colour, and 32, 64 or 128
            pixels, by the median of the shorter sides (64 from 48 pixels on, 128 from 160 on).
        seed: integer, seed of the split.
        held_out: share of the photos for the test, in (0, 1), if the folder is not split.

    Attributes:
        classes: names of the subfolders, in alphabetical order.
        parts: dict from "train", "validation" and "test" to `(PhotoImages, labels)`.
        image_shape: `(H, W, C)`.
        left_out: dict from files that are no images, or cannot be read, to the reason.
        copies: lists of files with the same bytes.
        near_constant: files that show almost one colour: their standard deviation is below 2 of 255.

    Raises:
        ValueError: the folder is missing or has another layout, there are fewer than two classes, a class has no
            training photo, a class of another part is not in "train", or an argument has another form.

    Example:

    >>> photos = keras_coda.data.Photos("photos/")
    >>> images, labels = photos.parts["train"]
    >>> print(photos.summary())
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        image_shape: Sequence[int | None] | None = None,
        seed: int = 0,
        held_out: float = 0.2,
    ) -> None:
        if not 0 < held_out < 1:
            raise ValueError(f"`held_out` must be in (0, 1). Received: {held_out!r}")
        self.folder = pathlib.Path(folder)
        if not self.folder.is_dir():
            raise ValueError(
                f"Expected a folder of photos. Received: {str(folder)!r}, but {self.folder.absolute()} is no folder"
            )
        self.left_out: dict[pathlib.Path, str] = {}
        folders = self._folders_of_parts()
        self.classes = sorted(path.name for path in self._folders(folders["train"]))
        if len(self.classes) < 2:
            raise ValueError(
                f"{folders['train']} must have a folder for each class, two at least. Received: {self.classes}"
            )
        foreign = [name for name in self.classes if not name.isprintable()]
        if foreign:
            raise ValueError(f"The names of classes must be printable text, in UTF-8. Received: the folders {foreign}")
        # For each part, a dict from files to labels.
        found = {part: self._files(folder) for part, folder in folders.items()}
        facts = self._facts({path for files in found.values() for path in files})
        self.sizes = [fact.size for fact in facts.values()]
        self.near_constant = sorted(path for path, fact in facts.items() if fact.constant)
        self.copies = _copies(facts)
        self.image_shape = self._image_shape(image_shape)
        labelled = {
            part: [(path, label) for path, label in files.items() if path in facts] for part, files in found.items()
        }
        if [*folders] == ["train"]:
            labelled = _split(labelled["train"], facts, seed, held_out)
        self._labels = labelled
        self.parts = {
            part: (PhotoImages([path for path, _ in files], self.image_shape), np.array([label for _, label in files]))
            for part, files in labelled.items()
        }
        missing = [name for label, name in enumerate(self.classes) if label not in self.parts["train"][1]]
        if missing or not all(len(labels) for _, labels in self.parts.values()):
            counts = ", ".join(f"{part} {len(labels)}" for part, (_, labels) in self.parts.items())
            classes = f"none to train with for {missing}; " if missing else ""
            raise ValueError(
                f"Expected {self.folder}/CLASS/*, or {self.folder}/train/CLASS/* with validation or test beside train "
                f"and no other folder; a photo to train with for each class, and one in each part. Received: {classes}"
                f"photos by part: {counts}. {'. '.join(self._lines_left_out())}".strip()
            )

    def __repr__(self):
        return f"Photos({str(self.folder)!r}: {self.summary().splitlines()[0]})"

    @property
    def test(self) -> str:
        """Name of the part for measurements: "test", or "validation" if there is no "test"."""
        return "test" if "test" in self.parts else "validation"

    def summary(self) -> str:
        """A text with the number of photos of each class, followed by the lines of `problems`."""
        counts = {part: np.bincount(labels, minlength=len(self.classes)) for part, (_, labels) in self.parts.items()}
        total = ", ".join(f"{part} {count.sum()}" for part, count in counts.items())
        rows = [
            f"  {printable(name)}: {', '.join(str(count[label]) for count in counts.values())}"
            for label, name in enumerate(self.classes)
        ]
        shape = " x ".join(map(str, self.image_shape))
        first = f"{len(self.classes)} classes, {total} photos, scaled to {shape}"
        return "\n".join([first, *rows, *self.problems()])

    def problems(self) -> list[str]:
        """Lines about files that were left out, copies, and images without content. Empty if there are none."""
        lines = self._lines_left_out()
        part_of = {path: (part, label) for part, files in self._labels.items() for path, label in files}
        for kind, differs in (
            ("Copies of one another in several classes", lambda places: len({label for _, label in places}) > 1),
            ("Copies of one another in several parts", lambda places: len({part for part, _ in places}) > 1),
            ("Copies of one another", lambda places: len(set(places)) == 1),
        ):
            groups = [group for group in self.copies if differs([part_of[path] for path in group])]
            if groups:
                named = [f"{self._names(group[:1])} (also {self._names(group[1:], 3)})" for group in groups]
                lines.append(f"{kind}: {len(groups)}. {_first(named)}")
        if self.near_constant:
            lines.append(f"Near-constant: {len(self.near_constant)}. {self._names(self.near_constant)}")
        return lines

    def _lines_left_out(self):
        """A line for each kind of reason, with the names of the first files."""
        kinds: dict[str, list] = {}
        for path, reason in self.left_out.items():
            kinds.setdefault(reason.partition(":")[0], []).append(path)
        return [f"Left out ({kind}): {len(paths)}. {self._names(paths)}" for kind, paths in kinds.items()]

    def _names(self, paths, most=10):
        return _first([printable(path.relative_to(self.folder)) for path in paths], most)

    def _folders(self, folder):
        """The subfolders that are not hidden. Files beside them are noted as left out."""
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        self.left_out.update((path, "not in the folder of a class") for path in entries if not path.is_dir())
        return [path for path in entries if path.is_dir()]

    def _folders_of_parts(self):
        folders = self._folders(self.folder)
        names = {path.name.lower() for path in folders}
        if "train" not in names or not names <= PARTS.keys():
            return {"train": self.folder}
        parts = {PARTS[path.name.lower()]: path for path in folders}
        if len(parts) < len(folders):
            raise ValueError(
                f"{self.folder} must have one folder for each of train, validation and test. "
                f"Received: {[path.name for path in folders]}"
            )
        return {part: parts[part] for part in ("train", "validation", "test") if part in parts}

    def _files(self, folder):
        """A dict from the files of all classes to labels."""
        found = self._folders(folder)
        unknown = [path.name for path in found if path.name not in self.classes]
        if unknown:
            raise ValueError(f"{folder} must have the classes of the training, {self.classes}. Received: {unknown}")
        files = {}
        for path in found:
            for file in sorted(path.iterdir()):
                if file.name.startswith("."):
                    continue
                if file.is_dir():
                    self.left_out[file] = "a folder in that of a class"
                elif not file.exists():
                    self.left_out[file] = "a link to nothing"
                elif not file.is_file():
                    self.left_out[file] = "no regular file"
                else:
                    files[file] = self.classes.index(path.name)
        return files

    def _facts(self, paths):
        """A dict from files to their `Fact`. Files without one are noted as left out."""
        facts = {}
        paths = sorted(paths)
        said = time.monotonic()
        # Threads of its own: other data sets may be waiting for those that decode.
        with ThreadPoolExecutor() as pool:
            for number, (path, fact) in enumerate(zip(paths, pool.map(_fact, paths), strict=True), start=1):
                if time.monotonic() - said >= SECONDS:
                    line = f"{printable(self.folder)}: {number:,} of {len(paths):,} files read"
                    print(line, file=sys.stderr, flush=True)
                    said = time.monotonic()
                if isinstance(fact, str):
                    self.left_out[path] = fact
                else:
                    facts[path] = fact
        return facts

    def _image_shape(self, image_shape):
        height, width, channels = (None, None, 3) if image_shape is None else tuple(image_shape)
        if channels not in (1, 3) or not all(side is None or side > 0 for side in (height, width)):
            raise ValueError(f"`image_shape` must be (height, width, 1 or 3). Received: {image_shape!r}")
        median = np.median([min(size) for size in self.sizes]) if self.sizes else 0
        side = max(side for least, side in SIDES.items() if median >= least)
        return (height or width or side, width or height or side, channels)


def is_folder(name: str | os.PathLike) -> bool:
    """Whether the name of a data set is the path of a folder."""
    return os.path.isdir(name) or str(name).endswith("/")


def load_photos(folder: str | os.PathLike, image_shape: Sequence[int | None] | None = None) -> tuple:
    """The fields of the `data.Dataset` of a folder. Warns of its problems."""
    photos = Photos(folder, image_shape)
    if photos.problems():
        warnings.warn(f"{folder}: " + "\n".join(photos.problems()), PhotosWarning, stacklevel=3)
    return *photos.parts["train"], *photos.parts[photos.test], photos.classes


class Fact(NamedTuple):
    """Facts about an image file: SHA-256 of its bytes, size as stored, and whether it is near-constant."""

    digest: str
    size: tuple
    constant: bool


def _first(names, most=10):
    """The first of some names, and the number of the others."""
    return ", ".join(names[:most]) + (f", and {len(names) - most:,} more" if len(names) > most else "")


def _fact(path):
    try:
        state = path.stat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return _fact_of_state(path, state.st_size, state.st_mtime_ns, Image.MAX_IMAGE_PIXELS)


# Cached, since a command reads the same folder twice: for the recipe and for the training.
@functools.lru_cache(maxsize=2**20)
def _fact_of_state(path, size, modified, most_pixels):
    """The `Fact` of a file, or a string with the reason why it has none."""
    try:
        with opened(path, FORMATS) as image:
            stored = image.size  # before decoding, which changes it
            thumbnail = in_turn(image, 3, THUMBNAIL).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        digest = sha256(path)
    except Image.UnidentifiedImageError:
        return "no JPEG, PNG or WebP image"
    except TOO_LARGE:
        return f"more than {most_pixels:,} pixels"
    except PermissionError:
        return "no permission to read"
    except Exception as error:  # Pillow raises errors of many types for damaged files.
        return f"damaged: {error or type(error).__name__}"
    deviation = np.asarray(thumbnail, "float32").std(axis=(0, 1)).max()
    return Fact(digest, stored, bool(deviation < CONSTANT))


def _copies(facts):
    groups: dict[str, list] = {}
    for path, fact in facts.items():
        groups.setdefault(fact.digest, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _split(files, facts, seed, held_out):
    """Split files with labels by their bytes.

    A class with at least two different files, without copies in other classes, has one in both parts.
    """

    def place(digest):
        drawn = hashlib.sha256(f"{seed} {digest}".encode()).digest()
        return int.from_bytes(drawn[:8]) / 2**64

    labels_of, digests_of = collections.defaultdict(set), collections.defaultdict(set)
    for path, label in files:
        labels_of[facts[path].digest].add(label)
        digests_of[label].add(facts[path].digest)
    tested = {digest for digest in labels_of if place(digest) < held_out}
    for digests in digests_of.values():
        own = sorted((digest for digest in digests if len(labels_of[digest]) == 1), key=place)
        # The first of several photos is always for the test, and the last always for training.
        tested.update(own[:1])
        tested.difference_update(own[-1:])
    for label in sorted(digests_of):
        if digests_of[label] <= tested:
            tested.discard(max(digests_of[label], key=place))
    parts: dict[str, list] = {"train": [], "test": []}
    for path, label in files:
        parts["test" if facts[path].digest in tested else "train"].append((path, label))
    return parts
