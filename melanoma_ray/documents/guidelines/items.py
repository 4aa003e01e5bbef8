"""An item of a checklist, and what an evaluation can say to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from melanoma_ray.documents.evidence import Evidence

Fill = Callable[[Evidence], str]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a checklist, in our own short words."""

    number: str
    """As in the checklist; that of another one than TRIPOD+AI begins with its name."""
    title: str
    fill: Fill | None = None
    """What the evaluation says, empty where it can't; none: only the publisher can say it."""
    like: str = ""
    """Number of the item of TRIPOD+AI that asks for the same, whose text and statement hold here too; empty: none."""


@dataclass(frozen=True, slots=True)
class Guideline:
    """A checklist with its source."""

    name: str
    source: str
    items: tuple[Item, ...]
    note: str = ""
    """What has to be known to read it."""
