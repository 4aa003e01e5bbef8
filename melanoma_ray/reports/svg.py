"""A matplotlib figure as text for a page, or as an image: its colours follow the page's light or dark."""

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
"""Of templates/style.css, which gives each colour its light and its dark value."""


def figure_to_svg(figure: Figure) -> str:
    """Return an ``<svg>`` element to stand inside a page; the same figure gives the same text.

    Letters stay letters (they can be found, copied and read aloud) in the page's own font, and each
    colour names the page's variable with its light value to fall back on. What a whole file needs
    and a page mustn't have is taken out: prolog, metadata, the style rule for ``*`` and the ids that
    nothing refers to, which would clash between two plots of a page.

    Args:
        figure: With a gid of its own on the page.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Restored at once: the only way to reach the SVG writer's settings.
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
    """Return the figure on white, in its light colours, 150 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()
