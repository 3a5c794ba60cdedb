"""The README and the site: every Python block runs, in order; commands have options that exist; the API is complete.

A block that cannot run here has a line above it, `<!-- not run: why -->`. One that needs packages of an extra has
`<!-- needs: package -->`, and runs where they are installed. Notebooks run when the site is built.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import pathlib
import re
import shlex
import textwrap

import keras
import numpy as np
import pytest
from loopback_hub import TOKEN
from PIL import Image

import keras_coda
from keras_coda import cli, metrics, reports
from keras_coda.training import photo_recipes

ROOT = pathlib.Path(__file__).parent.parent
FENCE = re.compile(
    r"(?:^ *<!-- (?:not run: (?P<reason>.+?)|needs: (?P<needs>.+?)) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for files in ("*.md", "docs/**/*.md", "zoo/**/*.md") for path in ROOT.glob(files)
)


def blocks(page, language):
    """`(first line, text, why it is not run, or None)` of the blocks of a page."""
    content = (ROOT / page).read_text("utf-8")
    for match in FENCE.finditer(content):
        if match["language"] == language:
            needed = (match["needs"] or "").split()
            if "onnx" in needed and keras.backend.backend() == "jax":
                needed.append("jax2onnx")
            missing = [name for name in needed if importlib.util.find_spec(name) is None]
            reason = f"needs {missing}" if missing else match["reason"]
            yield content.count("\n", 0, match.start("text")) + 1, textwrap.dedent(match["text"]), reason


@pytest.fixture
def _as_found():
    yield
    keras_coda.set_contraction("auto")


# What a page takes for granted: each is called before the page's first block, and returns names that it uses.


def an_account_on_the_hub(request, monkeypatch):
    request.getfixturevalue("hub")
    request.getfixturevalue("set_environment")(HF_TOKEN=TOKEN)
    return {}


def a_folder_of_photos(request, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("daisy", "tulip"):
        pathlib.Path("photos", name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), "uint8")).save(f"photos/{name}/{number}.png")
    for limit in ("_FEWEST", "_MOST"):  # of epochs
        monkeypatch.setattr(photo_recipes, limit, 1)
    return {}


def minutes_of_time(request, monkeypatch):
    """A small data set in the place of MNIST, and one grid and image with two of the methods."""
    load, measure = reports.Subject.load, metrics.measure

    def measured(model, images, labels, methods, folder, grids, removed, **others):
        two = {name: methods[name] for name in ("contributions", "grad_cam")}
        return measure(model, images, labels, two, folder, grids=1, removed=1, **others)

    monkeypatch.setattr(reports.Subject, "load", lambda preset: load("xs_coda_digits"))
    monkeypatch.setattr(metrics, "measure", measured)
    return {}


def a_photo(request, monkeypatch):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), "uint8")).save("photo.jpg")
    return {}


def images_for_a_stem(request, monkeypatch):
    """A random image, and random weights in the place of those that would be downloaded."""
    monkeypatch.setattr(keras.applications, "ResNet50", functools.partial(keras.applications.ResNet50, weights=None))
    return {"images": np.random.default_rng(0).random((1, 224, 224, 3), "float32"), "labels": np.array([3])}


PREPARED = {
    "README.md": an_account_on_the_hub,
    "docs/photos.md": a_folder_of_photos,
    "docs/evaluation.md": minutes_of_time,
    "docs/how_to/index.md": a_photo,
    "docs/hybrids.md": images_for_a_stem,
}


# What the blocks call is tested on all three backends elsewhere.
@pytest.mark.one_backend
@pytest.mark.usefixtures("_as_found")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))])
def test_blocks_run_in_order(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    prepared = PREPARED[page](request, monkeypatch) if page in PREPARED else {}
    names = {"__name__": "__main__", **prepared}
    for line, text, reason in blocks(page, "python"):
        # An error then has the page and the line.
        tree = ast.increment_lineno(ast.parse(text), line - 1)
        if reason is None:
            exec(compile(tree, ROOT / page, "exec"), names)


def commands(page):
    """The lines of a page's shell blocks, without comments and what is set before them."""
    for _, text, _ in blocks(page, "bash"):
        for line in re.sub(r"\\\n *", " ", text).splitlines():
            for command in re.split(r" && |; ", line):
                words = shlex.split(command.partition(" > ")[0], comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield words


@pytest.mark.one_backend
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "bash"))])
def test_commands_exist(page):
    for words in commands(page):
        if pathlib.PurePath(words[0]).name == "keras-coda":
            # Ends the program, and so the test, where an option does not exist.
            with contextlib.suppress(SystemExit) if "--help" in words else contextlib.nullcontext():
                cli.parser().parse_args(words[1:])
        if pathlib.PurePath(words[0]).name in ("python", "python3", "bash") and words[1:2] != ["-m"] and words[1:]:
            assert (ROOT / words[1]).is_file(), shlex.join(words)


def public_names(module):
    """What a module offers: its `__all__`, or the classes and functions that are its own."""
    if hasattr(module, "__all__"):
        return module.__all__
    own = inspect.getmembers(module, lambda member: getattr(member, "__module__", None) == module.__name__)
    return [name for name, _ in own if not name.startswith("_")]


@pytest.mark.one_backend
def test_api_is_complete():
    pages = [page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md")]
    shown = []
    for name in re.findall(r"^::: (\S+)$", "\n".join(pages), re.MULTILINE):
        owner, _, last = name.rpartition(".")
        found = getattr(importlib.import_module(owner), last)
        shown.append(found)
        if inspect.ismodule(found):
            shown += [getattr(found, member) for member in public_names(found)]
    for name in set(keras_coda.__all__) - {"__version__"}:
        public = getattr(keras_coda, name)
        assert any(public is one for one in shown), name


@pytest.mark.one_backend
def test_links_on_pypi(monkeypatch):
    """All links and pictures of the README lead to the repository on the web, and to files that exist."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    pypi_readme = importlib.import_module("pypi_readme")
    repository = "https://example.org/owner/repository"
    readme = pypi_readme.absolute((ROOT / "README.md").read_text("utf-8"), repository, "v1")
    links = re.findall(r'\]\(([^)]+)\)|src="([^"]+)"', readme)
    assert all((link or picture).startswith("https://") for link, picture in links)
    views = {"blob": [link for link, _ in links], "raw": [picture for _, picture in links]}
    for view, addresses in views.items():
        paths = [one.removeprefix(f"{repository}/{view}/v1/") for one in addresses if one.startswith(repository)]
        assert paths
        for path in paths:
            assert (ROOT / path.partition("#")[0]).is_file(), path
