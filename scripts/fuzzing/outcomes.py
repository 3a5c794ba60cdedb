"""The outcomes of a case."""

import numpy as np

GOOD = EQUAL, AS_WRITTEN, REFUSED = "loaded, equal", "loaded, as written", "documented error"
BAD = OTHER, ERROR, HANG, CRASH, MEMORY, OUTSIDE = (
    "loaded, other than saved",
    "another error",
    "hang",
    "crash",
    "memory",
    "something outside changed or was opened",
)


def all_finite(arrays):
    """Whether no array has NaN or infinite numbers."""
    return all(np.isfinite(array.astype("float64")).all() for array in arrays)
