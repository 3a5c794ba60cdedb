"""The layer of docs/own_layers.md, as it stands there."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "own_layers.md"


def blocks():
    """The page's blocks of Python."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
