"""Readable names of WordNet classes."""

import collections
from collections.abc import Sequence


def first_names(wnids: Sequence[str], words: str) -> list[str]:
    """The first name of each WordNet class. If two classes have the same, their numbers are added.

    Args:
        wnids: WordNet numbers of the classes, such as "n02124075".
        words: content of ImageNet's words.txt: lines with a number, a tab, and names separated by commas.

    Returns:
        A list of strings.

    Example:

    >>> first_names(["n02124075"], "n02124075\\tEgyptian cat, mau\\n")
    ['Egyptian cat']
    """
    named = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    first = [named.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    count = collections.Counter(first)
    return [name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True)]
