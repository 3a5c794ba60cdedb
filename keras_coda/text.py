"""Text of others, such as the names of classes, where it must not be taken for more than text."""

import html
import re


def printable(text):
    """Text of one line for a terminal: what moves the cursor, changes colours or turns the line around is escaped.

    Example:

    >>> printable("cat\\x1b[2J")
    'cat\\\\x1b[2J'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))


def markdown(text):
    """Text of one line within Markdown: no tags, links, pictures, tables or other marks.

    Example:

    >>> markdown("<b>*cat*</b>")
    '&lt;b&gt;\\\\*cat\\\\*&lt;/b&gt;'
    """
    line = html.escape(" ".join(printable(part) for part in str(text).split()), quote=False)
    return re.sub(r"([\\`*\[\]|~#!]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)
