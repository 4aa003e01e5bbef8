"""Which row of a table is about which image: by the file's name, and where names repeat, by the folders before it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import numpy as np
from jaxtyping import Int64

from melanoma_ray.sources.listing import IMAGE_ENDINGS

Parts = tuple[str, ...]
"""Folders and name of an image, the name without its ending."""
NO_ROW = -1
_Fit = tuple[int, int, bool, bool, bool]
"""How well a row's id fits an image: parts that agree from the end on, minus the image's folders between them, whether
the endings agree, whether the id needs no zeros before it, and whether it is spelled the same."""
_NO_FIT: _Fit = (0, 0, False, False, False)
_COPY = re.compile(
    r"^(?:copy|kopie) (?:of|von) |(?: ?- ?(?:copy|kopie)| copy)(?: ?\d+| ?\(\d+\))?$|\s*\(\d+\)$", re.IGNORECASE
)
"""What systems make of the name of a copy: ``x (1)``, ``Copy of x``, ``x - Copy (2)``, ``x copy``."""
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
    found = _ARCHIVE_ID.match(_ROBOFLOW.sub("", without_copy(name)))
    return found[1].upper() if found else None


def without_copy(name: str) -> str:
    """Return the name of what a copy was made of.

    >>> without_copy("x (1)"), without_copy("Copy of x"), without_copy("x - Kopie")
    ('x', 'x', 'x')
    """
    return _COPY.sub("", name)


def split_id(image_id: str) -> Parts:
    r"""Return folders and name of an id as a table writes it, without the image's ending.

    >>> split_id(" images\\ISIC_1.JPG ")
    ('images', 'ISIC_1')
    """
    parts = [part.strip() for part in re.split(r"[/\\]", _bare(image_id)) if part.strip()]
    if not parts:
        return ("",)
    name = PurePosixPath(parts[-1])
    return (*parts[:-1], name.stem if name.suffix.lower() in IMAGE_ENDINGS else parts[-1])


def _bare(image_id: str) -> str:
    """Return an id without quotes and spaces around it, and an address without its query."""
    bare = image_id.strip(" \t\r\n\"'")
    return unquote(re.split(r"[?#]", bare, maxsplit=1)[0]) if "://" in bare else bare


def ending_of(image_id: str) -> str:
    """Return the image's ending in an id or a path, in small letters; nothing where it has none.

    >>> ending_of("a/ISIC_1.JPG"), ending_of("ISIC_1.5")
    ('.jpg', '')
    """
    ending = PurePosixPath(_bare(image_id)).suffix.lower()
    return ending if ending in IMAGE_ENDINGS else ""


def name_key(name: str) -> str:
    """Return what different spellings of a name have in common: case, Unicode's forms, and a spreadsheet's ``.0``.

    >>> name_key("ISIC_1"), name_key("123.0")
    ('isic_1', '123')
    """
    key = unicodedata.normalize("NFC", name).strip().lower()
    return key[:-2] if re.fullmatch(r"\d+\.0", key) else key


def row_key(image_id: str) -> str:
    """Return the same for a table's id, folders and ending included: rows of one key are about one file."""
    return "/".join(map(name_key, split_id(image_id))) + ending_of(image_id)


def match_rows(
    images: Sequence[Parts],
    ids: Sequence[str | None],
    is_same: Callable[[Sequence[int]], bool] = lambda _: False,
    endings: Sequence[str] = (),
) -> Match:
    """Return each image's row.

    Args:
        images: Folders and name of each image.
        ids: The table's ids, with or without folders, ending and surrounding spaces, in any case; none: no image's.
        is_same: Tells whether images at some places, which bear one name, are one picture.
        endings: Of each image's file, which tell ``p0.jpg`` and ``p0.png`` apart where the table has them too.
    """
    split = [("",) if one is None else split_id(one) for one in ids]
    row_endings = ["" if one is None else ending_of(one) for one in ids]
    rows_of = defaultdict(list)
    for row, parts in enumerate(split):
        rows_of[name_key(parts[-1])].append(row)
    rows_of.pop("", None)
    found = np.full(len(images), NO_ROW, np.int64)
    fits = [_NO_FIT] * len(images)
    asking = defaultdict(list)
    for place, parts in enumerate(images):
        name = next((one for one in _names(parts[-1]) if name_key(one) in rows_of), None)
        if name is None:
            continue
        ending = endings[place] if endings else ""
        rows = rows_of[name_key(name)]
        ranks = [_fit(parts, name, ending, split[row], row_endings[row]) for row in rows]
        best = max(range(len(rows)), key=lambda i: (ranks[i], -i))
        found[place], fits[place] = rows[best], ranks[best]
        if name in {parts[-1], _without_zeros(parts[-1])}:  # a copy's number tells it apart
            asking[rows[best]].append(place)
    return Match(row=found, ambiguous=tuple(_settle(images, asking, fits, found, is_same)))


def _fit(image: Parts, name: str, ending: str, row: Parts, row_ending: str) -> _Fit:
    depth, num_skipped = _agreement(image, row)
    return depth, -num_skipped, ending != "" and ending == row_ending, name == image[-1], row[-1] == name


def _settle(
    images: Sequence[Parts],
    asking: dict[int, list[int]],
    fits: Sequence[_Fit],
    found: Int64[np.ndarray, " image"],
    is_same: Callable[[Sequence[int]], bool],
) -> list[str]:
    """Give a row for which several images ask to those that it fits best, in place; return what nothing tells apart."""
    ambiguous = []
    for claimants in asking.values():
        best = max(fits[place][:4] for place in claimants)
        places = [place for place in claimants if fits[place][:4] == best]
        name = images[places[0]][-1]
        others = [place for place in claimants if fits[place][:4] < best]
        if others and archive_id(name) is None and not is_same(claimants):
            found[others] = NO_ROW  # the row's folders are those of another file of this name
        if len(places) > 1 and archive_id(name) is None and not is_same(places):
            found[places] = NO_ROW
            ambiguous.append(name)
    return ambiguous


def _names(name: str) -> tuple[str, ...]:
    """Return the names under which a table may have an image: its own, its original's, and its number."""
    return (name, without_copy(name), _ROBOFLOW.sub("", name), _without_zeros(name))


def _without_zeros(name: str) -> str:
    """Return a number without the zeros before it, which a spreadsheet takes off; other names as they are."""
    return str(int(name)) if name.isascii() and name.isdigit() else name


def _agreement(image: Parts, row: Parts) -> tuple[int, int]:
    """Return how many parts agree from the end on, and how many folders of the image lie between them.

    The name counts as one, whatever ending or number it bears. A row's folders may leave out some of the image's:
    ``train/0`` is about ``train/images/0``.

    >>> _agreement(("train", "images", "0"), ("train", "0")), _agreement(("test", "0"), ("train", "0"))
    ((2, 1), (1, 0))
    """
    depth, num_skipped, waiting = 1, 0, 0
    folders = [name_key(one) for one in row[:-1]]
    for folder in map(name_key, reversed(image[:-1])):
        if not folders:
            break
        if folder == folders[-1]:
            folders.pop()
            depth, num_skipped, waiting = depth + 1, num_skipped + waiting, 0
        else:
            waiting += 1
    return depth, num_skipped
