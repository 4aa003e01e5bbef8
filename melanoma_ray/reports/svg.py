"""A matplotlib figure as SVG for a page, whose light or dark colours it takes, or as PNG."""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

INK = "#1b2127"
MUTED = "#767f88"
FIRST = "#1769aa"
SECOND = "#c2570c"
THIRD = "#7a4fa3"
SHADE = "#7fb2e5"

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FIRST: "--first",
    SECOND: "--second",
    THIRD: "--third",
    SHADE: "--shade",
}
"""CSS variable of each colour, to which templates/style.css gives a light and a dark value."""


def figure_to_svg(figure: Figure) -> str:
    """Return an ``<svg>`` element to embed in a page; the same figure gives the same text.

    Text stays text in the page's own font, so it can be found, copied and read aloud. Each colour is a reference
    to the page's variable, with its light value as fallback. What an SVG file needs but a page mustn't have is
    removed: prolog, metadata, the style rule for ``*`` and ids without references, because they would clash between
    two plots of a page.

    Args:
        figure: Figure whose gid is unique on the page.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Global settings, changed for this call only: the SVG writer has no arguments for them.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": figure.get_gid() or "figure"}):
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    referred = set(re.findall(r'(?:href="|url\()#([\w-]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", text)
    text = re.sub(r" font-family: [^;]*;", "", text).replace("<svg", '<svg font-family="sans-serif"', 1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    return text


def figure_to_png(figure: Figure) -> bytes:
    """Return the figure as PNG on white, in its light colours, at 150 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()
