"""Optional packages, imported only by the functions that need them."""

import importlib


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
