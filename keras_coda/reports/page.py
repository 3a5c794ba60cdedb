"""A self-contained HTML page of headings, text, tables and pictures.

Kept by hand: it has no loops or conditions for which a template engine (Jinja) would be worth a dependency.
"""

import base64
import html
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_coda.files import written_whole

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
       color: #222; background: #fff; max-width: 68rem; margin: 2.5rem auto 5rem; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-top: .9rem; border-top: 1px solid #ddd; }
p { max-width: 46rem; margin: .5rem 0; }
p.lead { color: #555; font-size: 1.08rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid #eee; }
th { font-weight: 600; color: #555; border-bottom: 1px solid #bbb; }
th:first-child, td:first-child { text-align: left; }
table.facts td { text-align: left; overflow-wrap: anywhere; }
table.facts td:first-child { color: #555; white-space: nowrap; }
tr.best td { font-weight: 600; }
.wide { overflow-x: auto; white-space: nowrap; }
figure { margin: 1.2rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .88rem; max-width: 46rem; }
/* On a phone, pictures stay so large that their text can be read, and are scrolled. */
@media (max-width: 40rem) { figure { overflow-x: auto; } figure img { max-width: 36rem; } }
"""


class Page:
    """A page to which content is added from top to bottom.

    All text is escaped. Pictures are embedded, and the page loads nothing from outside.

    Args:
        title: string.
        lead: string, a sentence below the title.
    """

    def __init__(self, title: str, lead: str) -> None:
        self._title = html.escape(title)
        self._body = [f"<h1>{self._title}</h1>", f'<p class="lead">{html.escape(lead)}</p>']

    def heading(self, text: str) -> None:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add text."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Add a table of names and values."""
        rows = "".join(f"<tr>{_cell(name)}{_cell(value)}</tr>" for name, value in facts.items())
        self._body.append(f'<table class="facts">{rows}</table>')

    def table(self, columns: Sequence[str], rows: Sequence[Sequence], best: int | None = None) -> None:
        """Add a table with names of columns, and rows of strings or numbers. The row with index `best` is in bold."""
        head = "".join(f"<th>{html.escape(str(column))}</th>" for column in columns)
        lines = []
        for number, row in enumerate(rows):
            marked = ' class="best"' if number == best else ""
            lines.append(f"<tr{marked}>{''.join(map(_cell, row))}</tr>")
        self._body.append(f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>')

    def picture(self, figure: Any, caption: str) -> None:
        """Add a Matplotlib figure with a caption."""
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi="figure")
        data = base64.b64encode(content.getvalue()).decode()
        width = round(figure.get_figwidth() * figure.dpi * 0.6)
        text = html.escape(caption)
        self._body.append(
            f'<figure><img src="data:image/png;base64,{data}" width="{width}" alt="{text}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def html(self) -> str:
        """The page as text."""
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{self._title}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
            "<body>\n" + "\n".join(self._body) + "\n</body>\n</html>\n"
        )

    def write(self, path: str | os.PathLike) -> None:
        """Write the page to a file, whole or not at all."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(self.html())


def _cell(value):
    value = f"{value:.4g}" if isinstance(value, float) else value
    return f"<td>{html.escape(str(value))}</td>"
