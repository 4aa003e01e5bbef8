"""A number with what it counts, for every sentence that is printed."""

from __future__ import annotations

from collections.abc import Mapping


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts.

    >>> count(1, "image"), count(1200, "image is", "images are"), count(2, "nevus", "nevi")
    ('1 image', '1,200 images are', '2 nevi')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def list_kinds(kinds: Mapping[str, int]) -> str:
    """Return kinds of things with how many there are of each; kinds are named in the plural, whatever their number.

    >>> list_kinds({"tables": 1, "archives (.zip): unpack them first": 2000})
    'tables (1); archives (.zip): unpack them first (2,000)'
    """
    return "; ".join(f"{kind} ({number:,})" for kind, number in kinds.items())
