"""Optional packages, which are imported only when a function needs them."""

import importlib
from typing import Any


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
                f"{self._package} is not installed, which pictures, evaluation and the digits need: "
                'pip install "keras-coda[evaluation]"'
            ) from error
