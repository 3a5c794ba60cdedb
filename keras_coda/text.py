"""Escape text from outside, such as the names of classes, for terminals and Markdown."""

import html
import re


def printable(text: object) -> str:
    """Text as one line for a terminal. Characters that move the cursor or change colours or direction are escaped.

    Example:

    >>> printable("cat\\x1b[2J")
    'cat\\\\x1b[2J'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))


def markdown(text: object) -> str:
    """Text as one line for Markdown. Characters that make tags, links, pictures, tables or other marks are escaped.

    Example:

    >>> markdown("<b>*cat*</b>")
    '&lt;b&gt;\\\\*cat\\\\*&lt;/b&gt;'
    """
    line = html.escape(" ".join(printable(part) for part in str(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|~#!]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)
