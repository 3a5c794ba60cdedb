"""MkDocs hook: formulas as MathML, which browsers draw without a script."""

import html
import re

import latex2mathml.converter

FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL)


def mathml(match):
    display = "block" if match["tag"] == "div" else "inline"
    latex = re.sub(r"\\tag\{(.+?)\}", r"\\qquad (\1)", html.unescape(match["latex"]).strip())
    formula = latex2mathml.converter.convert(latex, display=display)
    return f'<{match["tag"]} class="formula">{formula}</{match["tag"]}>'


def on_page_content(content, page, config, files):
    """Replace the formulas of a page."""
    return FORMULA.sub(mathml, content)
