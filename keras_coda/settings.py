"""Dataclasses of settings as arguments, whose fields can also be given one by one."""

import dataclasses
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def settings_of(kind: type[Kind], given: Kind | None, fields: dict[str, Any]) -> Kind:
    """An object of a dataclass, with some of its fields replaced.

    Args:
        kind: the dataclass.
        given: an object of it. Default: one with the default values.
        fields: dict from names of fields to values, which replace those of `given`.

    Raises:
        TypeError: `given` is something else, a name is no field, or a field without a default is missing.

    Example:

    >>> settings_of(keras_coda.metrics.Protocol, None, {"grids": 20}).grids
    20
    """
    if given is None:
        return kind(**fields)
    if not isinstance(given, kind):
        raise TypeError(f"Expected a {kind.__module__}.{kind.__name__}, or its fields by name. Received: {given!r}")
    return dataclasses.replace(given, **fields)  # type: ignore[type-var]
