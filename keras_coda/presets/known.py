"""The paper's networks by name (paper, 4.1), with or without released weights."""

from typing import NamedTuple

from keras_coda.models import CoDANet


class PresetInfo(NamedTuple):
    """What `keras_coda.presets.list_presets` says of a preset.

    Attributes:
        name: what `keras_coda.presets.load` takes.
        dataset: the data set it was, or is to be, trained on.
        classes: the number of classes.
        image_shape: the images' shape without the batch axis; sizes may be `None` (any).
        description: a sentence or two.
        released: whether its weights are there.
    """

    name: str
    dataset: str
    classes: int
    image_shape: tuple
    description: str
    released: bool


class Network(NamedTuple):
    """A network of the paper. `source` is where its weights are released: "hf://user/repo@commit", by a hash."""

    dataset: str
    classes: int
    image_shape: tuple
    description: str
    source: str | None = None


_PUBLISHED = "As published."
_SIBLING = "Not in the paper's text: the layout follows its siblings and has the paper's {} million parameters."

# A name begins with the network's size.
KNOWN = {
    "s_coda_cifar10": Network("CIFAR-10", 10, (32, 32, 3), _PUBLISHED),
    "m_coda_cifar10": Network("CIFAR-10", 10, (32, 32, 3), _SIBLING.format(28)),
    "l_coda_imagenet100": Network("ImageNet-100", 100, (240, 240, 3), _PUBLISHED),
    "xl_coda_tinyimagenet": Network("TinyImageNet", 200, (64, 64, 3), _SIBLING.format(62)),
}


def untrained(name, dtype=None):
    """The network called `name`, with random weights."""
    size, _, _ = name.partition("_")
    return CoDANet.from_size(size, KNOWN[name].classes, dtype=dtype)
