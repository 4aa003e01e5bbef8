"""Which row of a table is about which image: by the file's name, and where names repeat, by the folders before it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int64

from melanoma_ray.sources.listing import IMAGE_ENDINGS

Parts = tuple[str, ...]
"""Folders and name of an image, the name without its ending."""
NO_ROW = -1
_COPY = re.compile(r"\s*\(\d+\)$")
_ROBOFLOW = re.compile(r"_(?:jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-f]{8,}$", re.IGNORECASE)
"""What Roboflow appends to the name of an image that it exports."""
_ARCHIVE_ID = re.compile(r"^(isic_\d{7})(_downsampled)?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What a table knows of some images."""

    row: Int64[np.ndarray, " image"]
    """Place of each image's row in the table, or ``NO_ROW``."""
    ambiguous: tuple[str, ...]
    """Names that several different files bear, and that the table doesn't tell apart: they get no row."""


def archive_id(name: str) -> str | None:
    """Return the archive's own id in an image's name: it means one picture wherever it lies; other names may not.

    >>> archive_id("isic_0000139 (1)"), archive_id("ISIC_0000139_downsampled"), archive_id("image1")
    ('ISIC_0000139', 'ISIC_0000139', None)
    """
    found = _ARCHIVE_ID.match(_ROBOFLOW.sub("", _COPY.sub("", name)))
    return found[1].upper() if found else None


def split_id(image_id: str) -> Parts:
    r"""Return folders and name of an id as a table writes it, without the image's ending.

    >>> split_id(" images\\ISIC_1.JPG ")
    ('images', 'ISIC_1')
    """
    parts = [part.strip() for part in re.split(r"[/\\]", image_id.strip()) if part.strip()]
    if not parts:
        return ("",)
    name = PurePosixPath(parts[-1])
    return (*parts[:-1], name.stem if name.suffix.lower() in IMAGE_ENDINGS else parts[-1])


def match_rows(
    images: Sequence[Parts], ids: Sequence[str | None], is_same: Callable[[Sequence[int]], bool] = lambda _: False
) -> Match:
    """Return each image's row.

    Args:
        images: Folders and name of each image.
        ids: The table's ids, with or without folders, ending and surrounding spaces, in any case; none: no image's.
        is_same: Tells whether images at some places, which bear one name, are one picture.
    """
    rows_of = defaultdict(list)
    split = [("",) if one is None else split_id(one) for one in ids]
    for row, parts in enumerate(split):
        rows_of[parts[-1].lower()].append(row)
    rows_of.pop("", None)
    found, depths = np.full(len(images), NO_ROW, np.int64), np.zeros(len(images), np.int64)
    asking = defaultdict(list)
    for place, parts in enumerate(images):
        name = next((one for one in _names(parts[-1]) if one.lower() in rows_of), None)
        if name is None:
            continue
        row, depth = _best_row(parts, name, rows_of[name.lower()], split)
        found[place], depths[place] = row, depth
        if name == parts[-1]:  # a copy's number tells it apart
            asking[row].append(place)
    ambiguous = []
    for claimants in asking.values():
        deepest = max(depths[place] for place in claimants)
        places = [place for place in claimants if depths[place] == deepest]
        name = images[places[0]][-1]
        others = [place for place in claimants if depths[place] < deepest]
        if others and archive_id(name) is None and not is_same(claimants):
            found[others] = NO_ROW  # the row's folders are those of another file of this name
        if len(places) > 1 and archive_id(name) is None and not is_same(places):
            found[places] = NO_ROW
            ambiguous.append(name)
    return Match(row=found, ambiguous=tuple(ambiguous))


def _names(name: str) -> tuple[str, ...]:
    """Return the names under which a table may have an image: its own, and what it was a copy or an export of."""
    return (name, _COPY.sub("", name), _ROBOFLOW.sub("", name))


def _best_row(image: Parts, name: str, rows: Sequence[int], split: Sequence[Parts]) -> tuple[int, int]:
    """Return the row whose folders agree best with the image's, and how many parts agree; the first among equals."""
    best, best_score = rows[0], (0, False)
    for row in rows:
        depth = _agreement(image, split[row])
        score = (depth, split[row][-1] == name)
        if score > best_score:
            best, best_score = row, score
    return best, best_score[0]


def _agreement(image: Parts, row: Parts) -> int:
    """Return how many parts agree from the end on, the name counted as one whatever ending or number it bears."""
    depth = 1
    for ours, theirs in zip(reversed(image[:-1]), reversed(row[:-1]), strict=False):
        if ours.lower() != theirs.lower():
            break
        depth += 1
    return depth
