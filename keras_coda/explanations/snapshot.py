"""Snapshots of layers' settings, which tell whether a compiled program is out of date."""

from collections.abc import Iterable

import keras
import numpy as np

# Attributes that change when a layer is merely used or trained.
_IGNORED = {
    "built",
    "training",
    "_auto_config",
    "_build_shapes_dict",
    "_called",
    "_inbound_nodes",
    "_lock",
    "_loss_ids",
    "_losses",
    "_losses_override",
    "_metrics",
    "_outbound_nodes",
    "_parent_path",
    "_path",
    "_trainable",
    "_modules",
    "_tracker",
}
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def snapshot(operations: Iterable[keras.Operation]) -> list:
    """The settings of layers and operations, and of the layers inside them, as a flat list for `is_same`.

    Weights are compared as variables, not by their values: a compiled program reads the current values.
    """
    found: list = []
    seen: set = set()
    for operation in operations:
        _add(operation, found, seen)
    return found


def is_same(first: list, second: list) -> bool:
    """Whether two snapshots are equal: nothing was set or replaced in between."""
    return len(first) == len(second) and all(
        a is b or (isinstance(a, _PLAIN) and type(a) is type(b) and a == b) for a, b in zip(first, second, strict=True)
    )


def _add(value, found, seen):
    if isinstance(value, _PLAIN):
        found.append(value)
    elif isinstance(value, (list, tuple)):
        found.append(len(value))
        for item in value:
            _add(item, found, seen)
    elif isinstance(value, dict):
        _add(list(value), found, seen)
        _add(list(value.values()), found, seen)
    elif isinstance(value, np.ndarray):
        found += [*value.shape, str(value.dtype), value.tobytes()]
    else:
        found.append(value)
        if isinstance(value, keras.Operation) and id(value) not in seen:
            seen.add(id(value))
            for name, attribute in list(vars(value).items()):
                if name not in _IGNORED and not name.startswith("_self_"):
                    found.append(name)
                    _add(attribute, found, seen)
