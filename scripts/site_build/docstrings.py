"""Griffe extension: the examples of Keras' docstrings as the parser of Google's style knows them."""

import textwrap

import griffe


class Docstrings(griffe.Extension):
    """Makes "Example:", which ends a docstring, a section of examples. Griffe knows "Examples:" with an indent."""

    def on_instance(self, *, obj, **kwargs):
        """Called for each object that has been read."""
        if obj.docstring is not None:
            text, found, example = obj.docstring.value.partition("\nExample:\n")
            if found:
                obj.docstring.value = f"{text}\nExamples:\n{textwrap.indent(example.strip(), '    ')}"
