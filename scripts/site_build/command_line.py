"""MkDocs hook: `<!-- help: train -->` becomes what `keras-coda train --help` prints."""

import os
import re

MARK = re.compile(r"<!-- help: ?(?P<command>[\w-]*) -->")


def printed(match):
    from keras_coda import cli

    os.environ["COLUMNS"] = "100"
    parser = cli.parser()
    if match["command"]:
        (commands,) = (action for action in parser._actions if action.dest == "==SUPPRESS==" and action.choices)
        parser = commands.choices[match["command"]]
    return f"```text\n{parser.format_help().rstrip()}\n```"


def on_page_markdown(markdown, page, config, files):
    """Fill in the help texts of a page."""
    return MARK.sub(printed, markdown)
