"""A number with what it counts, for every sentence that is printed."""

from __future__ import annotations


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts.

    >>> count(1, "image"), count(1200, "image is", "images are"), count(2, "nevus", "nevi")
    ('1 image', '1,200 images are', '2 nevi')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
