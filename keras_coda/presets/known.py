"""The names of the paper's networks (paper, 4.1), whether or not their weights are released."""

from typing import NamedTuple

from keras_coda.models import CoDANet


class PresetInfo(NamedTuple):
    """What `keras_coda.presets.list` says of a preset.

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


_PUBLISHED = "As published."
_SIBLING = "Not in the paper's text: the layout follows its siblings and has the paper's {} million parameters."

# A name begins with the network's size.
KNOWN = {
    info.name: info
    for info in (
        PresetInfo("s_coda_cifar10", "CIFAR-10", 10, (32, 32, 3), _PUBLISHED, False),
        PresetInfo("m_coda_cifar10", "CIFAR-10", 10, (32, 32, 3), _SIBLING.format(28), False),
        PresetInfo("l_coda_imagenet100", "ImageNet-100", 100, (240, 240, 3), _PUBLISHED, False),
        PresetInfo("xl_coda_tinyimagenet", "TinyImageNet", 200, (64, 64, 3), _SIBLING.format(62), False),
    )
}


def untrained(name, dtype=None):
    """The network called `name`, with random weights."""
    size, _, _ = name.partition("_")
    return CoDANet.from_size(size, KNOWN[name].classes, dtype=dtype)
