"""Optional packages, which are imported only when a function needs them."""

import importlib
import types
from typing import Any


def imported(module: str, package: str, needed_by: str) -> types.ModuleType:
    """Import a module of an optional package.

    Args:
        module: name of the module, such as "skimage.transform".
        package: name of its package on PyPI.
        needed_by: what needs it, for the error message.

    Raises:
        ImportError: it is not installed.

    Example:

    >>> imported("skimage.transform", "scikit-image", "RISE").resize(image, (8, 8))
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{needed_by} needs {package}, which is not installed: pip install {package}") from error


def check_evaluation() -> None:
    """Raise an ImportError if a package is missing that every evaluation needs, before it begins."""
    for name in ("matplotlib", "pandas", "scipy"):
        _ = Lazy(name, name).__version__


class Lazy:
    """A module that is imported when it is first used.

    Args:
        module: name of the module, such as "matplotlib.figure".
        package: name of its package on PyPI.

    Raises:
        ImportError: on use, if it is not installed. The message names the extra "evaluation".

    Example:

    >>> pd = Lazy("pandas", "pandas")
    >>> pd.DataFrame({"epoch": [1]})
    """

    def __init__(self, module: str, package: str) -> None:
        self._module, self._package = module, package

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(importlib.import_module(self._module), name)
        except ImportError as error:
            raise ImportError(
                f"{self._package} is not installed, which pictures and evaluation need: "
                'pip install "keras-coda[evaluation]"'
            ) from error
