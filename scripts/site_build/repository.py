"""MkDocs hook: pages from outside docs/, and links into the repository.

Pages link to files of the repository as on GitHub, `[the code](../keras_coda/losses.py)`. On the site each such file
gets a page with its text. `losses.py#OneVsRestCrossentropy.call` leads to that function there. A file or a name that is
missing is a warning, which `mkdocs build --strict` makes an error.
"""

import ast
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

# The pages of the repository outside docs/ that are pages of the site.
PAGES = ("zoo/**/*.md", "examples/*.md", "CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#:]+)(?:#(?P<name>[^)\s]*))?\)")
# A picture with a width, which GitHub takes as HTML only. MkDocs finds and checks Markdown's.
PICTURE = re.compile(r'<img src="(?P<target>[^":]+)" (?P<width>width="\d+") alt="(?P<text>[^"\]]*)">')
LANGUAGES = {
    ".py": "python",
    ".json": "json",
    ".sh": "bash",
    ".toml": "toml",
    ".csv": "text",
    ".yml": "yaml",
    ".cff": "yaml",
}


def root_of(config):
    return pathlib.Path(config.config_file_path).parent


def in_repository(file):
    """The path in the repository of a page of the site."""
    outside = any(pathlib.PurePosixPath(file.src_uri).match(pattern.replace("**/", "*/")) for pattern in PAGES)
    return file.src_uri if outside or file.src_uri == "zoo/README.md" else f"docs/{file.src_uri}"


def in_site(path, root):
    """Where the site has what is at `path` in the repository."""
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    if path.endswith(".md") or not (root / path).is_file():
        return path
    return f"source/{path}.md"


def translated(markdown, file, root, linked):
    """`markdown` with its links and pictures as the site has them. `linked` notes the files it links to, with names."""

    def translate(match):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository(file)), match["target"]))
        if (root / path).is_dir():
            return match["text"]  # a page has no folder to show
        target = in_site(path, root)
        if target.startswith("source/"):
            linked.setdefault(path, set()).update({match["name"]} - {None})
        anchor = "" if match["name"] is None else f"#{match['name']}"
        address = posixpath.relpath(target, posixpath.dirname(file.src_uri) or ".")
        return f"{match['image']}[{match['text']}]({address}{anchor})"

    return LINK.sub(translate, PICTURE.sub(r"![\g<text>](\g<target>){ \g<width> }", markdown))


def definitions(text):
    """The first lines of the classes, functions and constants of a Python file, by their names."""
    lines = {}

    def visit(node, prefix):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                decorators = [decorator.lineno for decorator in child.decorator_list]
                lines[prefix + child.name] = min([child.lineno, *decorators])
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            if isinstance(child, ast.Assign):
                lines.update({prefix + name.id: child.lineno for name in child.targets if isinstance(name, ast.Name)})

    visit(ast.parse(text), "")
    return lines


def source_page(path, text, names):
    """A page with the text of a file, cut at what is linked to."""
    lines = text.splitlines()
    known = definitions(text) if path.endswith(".py") else {}
    cuts = sorted((known[name], name) for name in names if name in known)
    starts = [(1, None), *cuts]
    ends = [line for line, _ in cuts] + [len(lines) + 1]
    page = ["---", "search: {exclude: true}", "hide: [toc]", "---", f"# {path}", ""]
    for (start, name), end in zip(starts, ends, strict=True):
        if name is not None:
            page += [f'<a id="{name}"></a>', ""]
        if end > start:
            language = LANGUAGES.get(pathlib.PurePosixPath(path).suffix, "text")
            page += [f'```{language} linenums="{start}"', *lines[start - 1 : end - 1], "```", ""]
    return "\n".join(page)


def on_files(files, config):
    """Add the pages from outside docs/, and those of the files that pages link to."""
    root = root_of(config)
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            uri = path.relative_to(root).as_posix()
            files.append(File.generated(config, uri, content=path.read_text("utf-8")))
    linked: dict[str, set[str]] = {}
    for file in files.documentation_pages():
        translated(file.content_string, file, root, linked)
    for path, names in sorted(linked.items()):
        page = source_page(path, (root / path).read_text("utf-8"), names)
        files.append(File.generated(config, f"source/{path}.md", content=page))
    return files


def on_page_markdown(markdown, page, config, files):
    """Translate the links of a page."""
    if page.file.src_uri == "zoo/README.md":
        page.meta["hide"] = ["toc"]  # its table is wide
    return markdown if page.file.src_uri.startswith("source/") else translated(markdown, page.file, root_of(config), {})
