"""Which kind of answer a request would rather have, where there are two."""

from __future__ import annotations


def prefers_json(accept: str) -> bool:
    """Return whether a request would rather have JSON than a PNG, by its Accept header (RFC 9110, 12.5.1).

    >>> prefers_json("application/json"), prefers_json("*/*"), prefers_json("image/png, application/json;q=0.9")
    (True, False, False)
    """
    return _quality(accept, "application/json") > _quality(accept, "image/png")


def _quality(accept: str, kind: str) -> float:
    """Return how much a kind of content is wanted, in [0, 1]: by the most specific range that has it."""
    names = (kind, kind.split("/", maxsplit=1)[0] + "/*", "*/*")
    found = dict.fromkeys(names, -1.0)
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        if name in found and quality.replace(".", "", 1).isdecimal():
            found[name] = float(quality)
    return next((found[name] for name in names if found[name] >= 0), 0.0)
