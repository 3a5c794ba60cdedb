"""The presets that have a name."""

from keras_coda.presets.folder import metadata
from keras_coda.presets.handle import at_hand
from keras_coda.presets.known import KNOWN, PresetInfo


def list_presets():
    """The presets that have a name: those of the paper, those that come with the package, and those of a checkout.

    Returns:
        A list of `PresetInfo`: named tuples (name, dataset, classes, image_shape, description, released).

    Example:

    >>> [preset.name for preset in keras_coda.presets.list_presets() if preset.released]
    ['xs_coda_cifar10', 'xs_coda_digits', 'xs_coda_mnist']
    """
    presets = {name: PresetInfo(name, *known[:-1], released=known.source is not None) for name, known in KNOWN.items()}
    for name, folder in at_hand().items():
        facts = metadata(folder)
        shape, classes = tuple(facts["image_shape"]), len(facts["classes"])
        presets[name] = PresetInfo(name, facts["dataset"], classes, shape, facts["description"], True)
    return [*presets.values()]


list = list_presets  # As it was called first.
