"""Presets by name, by path and by Hub address: what there is, and in which folder it is found."""

import os
import pathlib
from typing import Any, NamedTuple

from keras_coda.models import CoDANet
from keras_coda.presets import facts, hub
from keras_coda.presets.errors import PresetError
from keras_coda.presets.files import METADATA
from keras_coda.recipes import ZOO

BUNDLED = pathlib.Path(__file__).parent / "bundled"


class Network(NamedTuple):
    """A network of the paper (4.1). `source` is where its weights are released: "hf://user/repo@commit", or `None`."""

    dataset: str
    classes: int
    image_shape: tuple
    description: str
    source: str | None = None


_PUBLISHED = "As published."
_SIBLING = "Not in the paper's text: the layout follows its siblings and has the paper's {} million parameters."

# The part of a name before the first "_" is the size in `CoDANet.from_size`.
KNOWN = {
    "s_coda_cifar10": Network("cifar10", 10, (32, 32, 3), _PUBLISHED),
    "m_coda_cifar10": Network("cifar10", 10, (32, 32, 3), _SIBLING.format(28)),
    "l_coda_imagenet100": Network("imagenet100", 100, (240, 240, 3), _PUBLISHED),
    "xl_coda_tinyimagenet": Network("tiny_imagenet", 200, (64, 64, 3), _SIBLING.format(62)),
}


class PresetInfo(NamedTuple):
    """An entry of `keras_coda.presets.list_presets`.

    Attributes:
        name: what `keras_coda.presets.load` takes.
        dataset: the data set that it was, or is to be, trained on.
        classes: number of classes.
        image_shape: shape of the images without the batch axis; `None` for any size.
        description: a sentence or two.
        released: whether its weights are available.
    """

    name: str
    dataset: str
    classes: int
    image_shape: tuple
    description: str
    released: bool


def list_presets() -> list[PresetInfo]:
    """List the presets that have a name: those of the paper, those in the package, and in a checkout those of `zoo/`.

    Returns:
        A list of `PresetInfo`: named tuples (name, dataset, classes, image_shape, description, released).

    Example:

    >>> [preset.name for preset in keras_coda.presets.list_presets() if preset.released]
    ['s_coda_cifar10', 'xs_coda_cifar10', 'xs_coda_digits', 'xs_coda_mnist', 'xs_coda_tinyimagenet']
    """
    presets = {name: PresetInfo(name, *known[:-1], released=known.source is not None) for name, known in KNOWN.items()}
    for name, folder in local().items():
        of = facts.read(folder)
        shape, classes = tuple(of["image_shape"]), len(of["classes"])
        presets[name] = PresetInfo(name, of["dataset"], classes, shape, of["description"], True)
    return [*presets.values()]


def bundled() -> dict[str, pathlib.Path]:
    """The folders of the presets in the package, by name."""
    folders = sorted(BUNDLED.iterdir()) if BUNDLED.is_dir() else []
    return {folder.name: folder for folder in folders if folder.is_dir() and not folder.name.startswith(".")}


def local() -> dict[str, pathlib.Path]:
    """The folders of the presets that need no download, by name: those in the package, and in a checkout `zoo/`."""
    in_zoo = {path.parent.name: path.parent for path in sorted(ZOO.glob(f"*/{METADATA}"))}
    return {**in_zoo, **bundled()}


def is_path(preset: Any) -> bool:
    """Whether `preset` is the path of a folder, neither a name nor a Hub address."""
    return not isinstance(preset, str) or not (hub.is_address(preset) or preset in {*KNOWN, *local()})


def is_untrained(preset: Any) -> bool:
    """Whether `preset` is the name of a network of the paper without a local folder."""
    return isinstance(preset, str) and preset in KNOWN and preset not in local()


def untrained(name: str, dtype: Any = None) -> CoDANet:
    """The network of the paper called `name`, with random weights."""
    size, _, _ = name.partition("_")
    return CoDANet.from_size(size, KNOWN[name].classes, dtype=dtype)


def resolve(preset: Any, files: tuple[str, ...]) -> pathlib.Path:
    """The folder of a preset.

    Args:
        preset: a name, the path of a folder (a path object or a string), or "hf://user/repo" or
            "hf://user/repo@revision" on the Hugging Face Hub. A name takes precedence over a folder of that name: write
            "./name" for the folder.
        files: names of the needed files. From the Hub only these are downloaded.

    Raises:
        PresetError: there is no such preset.
        ImportError: it is on the Hub, and huggingface_hub is not installed.
    """
    if not isinstance(preset, (str, os.PathLike)) or not os.fspath(preset):
        raise PresetError(f"A preset is a name or the path of a folder. Received: {preset!r}")
    if isinstance(preset, str):
        if hub.is_address(preset):
            return hub.download(preset, files)
        if preset in local():
            return local()[preset]
        if preset in KNOWN:
            source = KNOWN[preset].source
            if source is not None:
                return hub.download(source, files)
            raise PresetError(
                f"The weights of {preset!r} are not released, or not in the package. For the untrained architecture: "
                f"keras_coda.presets.load({preset!r}, load_weights=False)"
            )
    try:
        path = pathlib.Path(preset).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # the name is too long, or the home or folder not accessible
        raise PresetError(f"Expected the folder of a preset. Received: {str(preset)!r:.200}: {error}") from error
    if is_folder:
        return path
    if exists:
        raise PresetError(f"Expected the folder of a preset. Received: {str(path)!r}, a file")
    if isinstance(preset, os.PathLike) or preset.startswith((".", "~")) or "/" in preset or os.sep in preset:
        raise PresetError(f"Expected the folder of a preset. Received: {str(path)!r}, which does not exist")
    names = sorted({*KNOWN, *local()})
    raise PresetError(f"Unknown preset {preset!r}. Known names: {names}. The path of a preset's folder works as well.")
