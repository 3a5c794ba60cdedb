"""Sizes and colours that all figures of images share, and the titles of their panels."""

import bisect

from keras_coda.imports import Lazy

font_manager = Lazy("matplotlib.font_manager", "matplotlib")
textpath = Lazy("matplotlib.textpath", "matplotlib")

# The layout, in pixels. 256 is a multiple of common image sizes, so that all their pixels have one size.
DPI = 160
PANEL, GAP, GROUP_GAP, MARGIN, TITLE, FOOT, SCALE = 256, 8, 32, 16, 64, 24, 80
INK, GRAY, WRONG = "#222222", "#888888", "#c00000"
MINUS = "\N{MINUS SIGN}"


def shortened(text, width):
    """A line of a title, cut to `width` pixels."""

    def length(text):
        return textpath.text_to_path.get_text_width_height_descent(text, _font(), ismath=False)[0] * DPI / 72

    if length(text) <= width:
        return text
    end = bisect.bisect(range(1, len(text)), width, key=lambda end: length(text[:end] + "…"))
    return text[:end].rstrip() + "…"


def set_title(ax, width, line, next_line="", colour=INK, panel=PANEL):
    """Set a title of two lines, cut to `width` pixels from the left of axes that are `panel` pixels wide."""
    title = f"{shortened(line, width)}\n{shortened(next_line, width)}"
    ax.set_title(title, x=width / panel / 2, fontproperties=_font(), color=colour, parse_math=False)


def _font():
    return font_manager.FontProperties(size=8)
