"""Optional packages, imported only by the functions that need them."""

import importlib
from typing import Any


def imported(module, package, needed_by):
    """The module called `module`.

    Args:
        module: string, such as "skimage.transform".
        package: string, what pip calls the package that has it.
        needed_by: string, who needs it, for the error.

    Raises:
        ImportError: it is not installed.

    Example:

    >>> imported("skimage.transform", "scikit-image", "RISE").resize(image, (8, 8))
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{needed_by} needs {package}, which is not installed: pip install {package}") from error


class Lazy:
    """A module that is imported when it is first used: `pd = Lazy("pandas", "pandas")`.

    Args:
        module: string, such as "matplotlib.figure".
        package: string, what pip calls the package that has it.

    Raises:
        ImportError: on use, where it is not installed. It names the extra "evaluation", which brings it.

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
