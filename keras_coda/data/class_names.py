"""Names of classes for people."""

import collections


def first_names(wnids, words):
    """The first name of each class of WordNet, with its number where two have the same.

    Args:
        wnids: strings, numbers of classes in WordNet, such as "n02124075".
        words: string, lines of a number, a tab and names separated by commas: ImageNet's words.txt.

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
