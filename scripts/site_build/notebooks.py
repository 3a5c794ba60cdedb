"""MkDocs hook: runs the notebooks of docs/tutorials and makes a page of each, with what its cells gave.

A notebook is a Python file with cells (`# %%`, Jupytext's percent format). Beside its page lies the executed .ipynb
file. A cell that fails ends the build. What the cells gave is kept in build/notebooks, and taken again while neither
they nor the package have changed.
"""

import base64
import hashlib
import os
import pathlib
import resource
import time

import jupytext
import nbclient
import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File

FOLDER = "tutorials"
SECONDS = 900
log = get_plugin_logger(__name__)
# The networks are so small that several threads mostly wait for each other, and long where other programs run, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# And JAX compiles much here, and computes little.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


def digest(cells, root):
    """Changes when the code of the notebook or the package does."""
    package = [path.read_bytes() for path in sorted((root / "keras_coda").rglob("*.py"))]
    return hashlib.sha256(b"".join([*(cell.source.encode() for cell in cells), *package])).hexdigest()[:16]


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def processor_seconds():
    """What the kernels that have ended took of the processors."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def executed(path, root):
    """The notebook with its outputs, from build/notebooks or by running it."""
    notebook = jupytext.read(path)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    work = root / "build" / "notebooks" / path.stem
    kept = work.with_name(f"{path.stem}-{digest(code_of(notebook), root)}.ipynb")
    if kept.is_file():
        for cell, before in zip(code_of(notebook), code_of(nbformat.read(kept, as_version=4)), strict=True):
            cell.outputs = before.outputs
        return notebook
    work.mkdir(parents=True, exist_ok=True)
    began, used = time.monotonic(), processor_seconds()
    try:
        nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(work)}}).execute()
    except nbclient.exceptions.CellExecutionError as error:
        raise PluginError(f"{path.relative_to(root)}: a cell failed\n{error}") from error
    used = processor_seconds() - used
    log.info(f"Ran {path.name} in {time.monotonic() - began:.0f} s, {used:.0f} of them of a processor")
    nbformat.write(notebook, kept)
    return notebook


def outputs_of(cell, name, images):
    """The outputs of a cell as Markdown. Pictures go into `images`, by their file names."""
    lines = []
    # What was printed comes in pieces.
    printed = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    lines += ["```text", printed.rstrip(), "```", ""] if printed else []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            file = f"{name}_{len(images) + 1}.png"
            images[file] = base64.b64decode(data["image/png"])
            lines += [f"![{cell.metadata.get('alt', 'What the code above draws')}]({file})"]
        elif "text/html" in data:
            lines += ['<div class="output" markdown="0">', data["text/html"], "</div>"]
        elif "text/plain" in data:
            lines += ["```text", data["text/plain"], "```"]
        lines.append("")
    return ['<div class="outputs" markdown>', "", *lines, "</div>", ""] if any(lines) else []


def as_page(notebook, name):
    """A notebook as Markdown, and its pictures."""
    lines: list[str] = []
    images: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            lines += [cell.source, ""]
        elif cell.cell_type == "code":
            lines += ["```python", cell.source, "```", "", *outputs_of(cell, name, images)]
    return "\n".join(lines), images


def on_files(files, config):
    """Replace the notebooks' sources by their pages, pictures and .ipynb files."""
    root = pathlib.Path(config.config_file_path).parent
    for file in [file for file in files if file.src_uri.startswith(f"{FOLDER}/") and file.src_uri.endswith(".py")]:
        path = pathlib.Path(file.abs_src_path)
        notebook = executed(path, root)
        page, images = as_page(notebook, path.stem)
        note = (
            f"\n\n[:material-download: Notebook]({path.stem}.ipynb){{ .md-button }} "
            f"[:material-code-tags: Source]({path.name}){{ .md-button }}\n"
        )
        files.remove(file)
        files.append(File.generated(config, f"{FOLDER}/{path.stem}.md", content=page + note))
        files.append(File.generated(config, f"{FOLDER}/{path.stem}.ipynb", content=nbformat.writes(notebook)))
        for name, content in images.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=content))
    return files
