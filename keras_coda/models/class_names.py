"""The names of a model's classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def checked(class_names: Sequence[str] | None, classes: int) -> list[str] | None:
    """Names as a list.

    Raises:
        ValueError: they are not `classes` different strings.
    """
    if class_names is None:
        return None
    names = [class_names] if isinstance(class_names, str) else [*class_names]
    if len(names) != classes or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(
            f"`class_names` must be {classes} different strings, in the order of the logits. Received: {class_names!r}"
        )
    return names


def to_indices(target: Any, class_names: Sequence[str] | None) -> Any:
    """Replace the names of classes in a target by their indices.

    Args:
        target: a target of `explain`, with names in place of integers: a string, or an array or nested list of them.
            The string "all" means all classes, even where a class has this name.
        class_names: the names, in the order of the logits, or `None`.

    Returns:
        An integer, or an array of integers of the same shape, for names. Any other target is returned as it is.

    Raises:
        ValueError: there is no class of such a name, or the model has no names.

    Example:

    >>> to_indices(["cat", "dog"], ["bird", "cat", "dog"])
    array([1, 2])
    """
    if target is None or (isinstance(target, str) and target == "all"):
        return target
    try:
        array = np.asarray(target)
    except ValueError:  # lists of different length, which raise an error later
        return target
    if array.dtype.kind != "U":
        return target
    if class_names is None:
        raise ValueError(
            f"`target` may be a name only if the model has `class_names`. Expected: integers. Received: {target!r}"
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    unknown = sorted(set(array.ravel().tolist()) - numbers.keys())
    if unknown:
        raise ValueError(f"`target` must name one of {[*class_names]}. Received: {unknown}")
    indices = np.array([numbers[name] for name in array.ravel()], "int64").reshape(array.shape)
    return indices if indices.ndim else int(indices)
