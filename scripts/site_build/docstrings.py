"""Griffe extension: the package as its readers know it."""

import textwrap

import griffe


class Docstrings(griffe.Extension):
    """Examples as Keras writes them, and functions that are called like the file they are in."""

    def on_instance(self, *, obj, **kwargs):
        """Make "Example:", which ends a docstring, a section of examples. Griffe knows "Examples:" with an indent."""
        if obj.docstring is not None:
            text, found, example = obj.docstring.value.partition("\nExample:\n")
            if found:
                obj.docstring.value = f"{text}\nExamples:\n{textwrap.indent(example.strip(), '    ')}"

    def on_package(self, *, pkg, **kwargs):
        """Of `from keras_coda.metrics.measure import measure` keep the function, as Python does, and not the file."""
        for module in [member for member in pkg.members.values() if not member.is_alias and member.is_module]:
            for name, file in list(module.members.items()):
                if name in (module.exports or []) and not file.is_alias and file.is_module and name in file.members:
                    module.members[name] = griffe.Alias(name, file.members[name], parent=module)
