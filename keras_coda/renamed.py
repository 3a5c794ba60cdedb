"""Names that were public and have moved."""

import importlib
import warnings


def renamed(module, **names):
    """A module's `__getattr__`, by which its earlier names still work, with a warning.

    Args:
        module: string, the module's name.
        **names: the full new name of each earlier one.

    Raises:
        AttributeError: of the function that is returned, for any other name.

    Example:

    >>> __getattr__ = renamed(__name__, evaluate="keras_coda.metrics.measure")
    """

    def find(name):
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {names[name]}.", DeprecationWarning, stacklevel=2)
        owner, _, last = names[name].rpartition(".")
        return getattr(importlib.import_module(owner), last)

    return find
