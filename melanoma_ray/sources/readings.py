"""People's word for images, reviewed.csv: how it is read, whose image a reading is of, and which reading counts.

reviewed.csv has a row for each reading, in UTF-8, with commas or semicolons, under these names in any order:

image       path, file name or id of the image
verdict     on the diagnosis that the model had shown: agree, disagree or unsure; empty: none was shown
diagnosis   the reader's own diagnosis, also where it agrees; empty: none
note        free text; empty: none
reader      who read it; empty: one unnamed reader
read_at     when, ISO 8601; empty: unknown

``image`` and one of verdict and diagnosis are needed; other columns are passed over. Of several readings of one image
by one reader the latest counts, or where a time is missing the last row.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PureWindowsPath
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, decode_text
from melanoma_ray.errors import DataError

Verdict = Literal["agree", "disagree", "unsure"]
UNNAMED = "unnamed reader"
NO_CLASS = "none of the diagnoses"
"""Stands for a word that the taxonomy has and that means no class of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One row of reviewed.csv."""

    image: str
    verdict: Verdict | None
    diagnosis: str | None
    """A class of the taxonomy, or ``none of the diagnoses``; none: no diagnosis was given."""
    reader: str
    read_at: datetime | None
    is_melanoma: bool | None = None
    """Whether the word for the diagnosis means melanoma, also where it means no class; none: it doesn't say."""
    is_malignant: bool | None = None
    """Whether it means a malignant lesion, likewise."""


def read_readings(uri: str, words: Taxonomy) -> tuple[Reading, ...]:
    """Return the rows of a reviewed.csv.

    Args:
        uri: Address of the table.
        words: What words for a lesion mean.

    Raises:
        DataError: The file can't be read, misses a column, or has a value that isn't allowed.
    """
    try:
        text = decode_text(storage.read_bytes(uri))
    except OSError as error:
        msg = f"reference {uri}: can't be read ({storage.explain(error)}); give a CSV file"
        raise DataError(msg) from error
    head = text.splitlines()[0] if text else ""
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        names, listed = {name.strip().lower() for name in rows.fieldnames or ()}, list(rows)
    except csv.Error as error:
        msg = f"reference {uri}: can't be read as CSV ({error}); give a CSV file"
        raise DataError(msg) from error
    if "image" not in names or not names & {"verdict", "diagnosis"}:
        msg = f"reference {uri}: has the columns {', '.join(sorted(names)) or 'none'}; expected image, and verdict or "
        msg += "diagnosis (docs/evaluation.md)"
        raise DataError(msg)
    return tuple(_read_row(row, f"reference {uri}, row {number}", words) for number, row in enumerate(listed, 2))


def _read_row(row: dict[str | Any, str | Any], where: str, words: Taxonomy) -> Reading:
    cells = {name.strip().lower(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    image, verdict, word = cells["image"], cells.get("verdict", "").lower(), cells.get("diagnosis", "")
    if not image:
        msg = f"{where}: image is empty; expected a path, file name or id"
        raise DataError(msg)
    if verdict and verdict not in get_args(Verdict):
        msg = f"{where}: verdict={verdict!r}: expected {', '.join(get_args(Verdict))} or nothing"
        raise DataError(msg)
    return Reading(
        image=image,
        verdict=next((one for one in get_args(Verdict) if one == verdict), None),
        diagnosis=_parse(word, where, words) if word else None,
        reader=cells.get("reader", "") or UNNAMED,
        read_at=_read_time(cells.get("read_at", ""), where),
        is_melanoma=words.says_melanoma(word) if word else None,
        is_malignant=words.says_malignant(word) if word else None,
    )


def _parse(word: str, where: str, words: Taxonomy) -> str:
    try:
        return words.parse(word) or NO_CLASS
    except DataError as error:
        msg = f"{where}: {error}"
        raise DataError(msg) from error


def _read_time(text: str, where: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{where}: read_at={text!r}: expected ISO 8601, such as 2026-11-26T09:30:00+01:00, or nothing"
        raise DataError(msg) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def match_readings(readings: Sequence[Reading], images: pd.DataFrame) -> Int[np.ndarray, " reading"]:
    """Return the row of each reading's image; -1: there is none, or several have that name.

    Args:
        readings: Rows of reviewed.csv.
        images: path and image_id.
    """
    paths = [str(path) for path in images["path"]]
    keys = (paths, [_file_name(path) for path in paths], [str(name) for name in images["image_id"]])
    tables = []
    for names in keys:
        counts = Counter(names)
        tables.append({name: row for row, name in enumerate(names) if counts[name] == 1})
    spelled = [(one.image, _file_name(one.image)) for one in readings]  # an image may have been moved meanwhile
    places = [[table[name] for name in names for table in tables if name in table] for names in spelled]
    return np.array([found[0] if found else -1 for found in places], int)


def _file_name(path: str) -> str:
    """Return the name of a file by its path on any machine, with slashes or backslashes."""
    return PureWindowsPath(path).name


def take_latest(matched: Sequence[tuple[int, Reading]]) -> dict[tuple[str, int], Reading]:
    """Return the reading that counts of each reader and image, by reader and row.

    Args:
        matched: Row of the image, and reading.
    """
    latest: dict[tuple[str, int], Reading] = {}
    for row, reading in matched:
        earlier = latest.get((reading.reader, row))
        is_older = (
            earlier is not None
            and earlier.read_at is not None
            and reading.read_at is not None
            and reading.read_at < earlier.read_at
        )
        if not is_older:
            latest[reading.reader, row] = reading
    return latest
