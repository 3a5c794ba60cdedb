"""MkDocs hook: every public name has its entry in the built pages of the API. One that is missing is a warning."""

import importlib
import inspect
import re

from mkdocs.plugins import get_plugin_logger

log = get_plugin_logger(__name__)
entries: set[str] = set()


def public_names(module):
    """What a module offers: its `__all__`, or the classes and functions that are its own."""
    own = inspect.getmembers(module, lambda member: getattr(member, "__module__", None) == module.__name__)
    return getattr(module, "__all__", [name for name, _ in own if not name.startswith("_")])


def on_page_content(content, page, config, files):
    """Note the entries of a page of the API."""
    if page.file.src_uri.startswith("api/"):
        entries.update(re.findall(r'id="keras_coda\.([\w.]+)"', content))


def on_post_build(config):
    """Look for each public name of the package and of its public parts."""
    package = importlib.import_module("keras_coda")
    modules = [getattr(package, name) for name in package.__all__ if inspect.ismodule(getattr(package, name))]
    public = {name for module in (package, *modules) for name in public_names(module)}
    last = {entry.rpartition(".")[2] for entry in entries}
    parts = {module.__name__.rpartition(".")[2] for module in modules}
    for name in sorted(public - last - parts - {"__version__"}):
        log.warning(f"The pages of the API have no entry of {name}")
