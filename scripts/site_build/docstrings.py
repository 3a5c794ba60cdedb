"""Griffe extension: the sections of Keras' docstrings as the parser of Google's style knows them."""

import re

import griffe


class Docstrings(griffe.Extension):
    """Makes "Example:" a section of examples. Griffe knows "Examples:" alone."""

    def on_instance(self, *, obj, **kwargs):
        """Called for each object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
