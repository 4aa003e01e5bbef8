"""People's word for the same images: reviewed.csv, and how the model and the readers agree.

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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import PurePath
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, decode_text
from melanoma_ray.errors import DataError
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.metrics.agreement import estimate_kappa
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_specificity

Verdict = Literal["agree", "disagree", "unsure"]
UNNAMED = "unnamed reader"
_OTHER = "none of the diagnoses"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderFigures:
    """How the model and one reader agree."""

    reader: str
    num_images: int
    """Evaluated images that this reader has read."""
    verdicts: dict[str, int]
    """Number of images by verdict."""
    num_diagnosed: int
    """Images with the reader's own diagnosis; the figures below are of these."""
    sensitivity: Estimate | None
    """Share of what the reader holds for melanoma (or malignant, as the report is about) that the model refers."""
    specificity: Estimate | None
    """Share of what the reader holds for something else that the model doesn't refer."""
    kappa: Estimate | None
    """Of the model's referral and the reader's diagnosis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFigures:
    """How two readers agree with each other."""

    first: str
    second: str
    num_images: int
    """Images that both have diagnosed."""
    kappa: Estimate | None
    """Of whether each holds the image for melanoma."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Readers:
    """All that reviewed.csv tells of the evaluated images."""

    num_readings: int
    num_unmatched: int
    """Readings of no evaluated image, or of a name that several have."""
    num_superseded: int
    """Readings that a later one of the same reader and image replaces."""
    readers: tuple[ReaderFigures, ...]
    pairs: tuple[PairFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self)


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
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")
    names = {name.strip().lower() for name in rows.fieldnames or ()}
    if "image" not in names or not names & {"verdict", "diagnosis"}:
        msg = f"reference {uri}: has the columns {', '.join(sorted(names)) or 'none'}; expected image, and verdict or "
        msg += "diagnosis (docs/evaluation.md)"
        raise DataError(msg)
    return tuple(_read_row(row, f"reference {uri}, row {number}", words) for number, row in enumerate(rows, 2))


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
    )


def _parse(word: str, where: str, words: Taxonomy) -> str:
    try:
        return words.parse(word) or _OTHER
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


def measure_readers(readings: Sequence[Reading], images: pd.DataFrame, scored: Scored) -> Readers:
    """Return how the model and the readers agree.

    Args:
        readings: Rows of reviewed.csv.
        images: Index rows of the evaluated images.
        scored: The model's answers for them.

    Raises:
        DataError: No reading is of an evaluated image.
    """
    rows = _match(readings, images)
    matched = [(row, reading) for row, reading in zip(rows, readings, strict=True) if row >= 0]
    if not matched:
        first = readings[0].image if readings else "no row"
        msg = f"reference: none of the {len(readings)} readings ({first} …) is of an evaluated image; give paths or ids"
        raise DataError(msg)
    latest = _take_latest(matched)
    names = sorted({reader for reader, _ in latest})
    by_reader = {name: {row: one for (reader, row), one in latest.items() if reader == name} for name in names}
    return Readers(
        num_readings=len(readings),
        num_unmatched=len(readings) - len(matched),
        num_superseded=len(matched) - len(latest),
        readers=tuple(_measure_reader(name, found, scored) for name, found in by_reader.items()),
        pairs=tuple(_measure_pair(pair, by_reader, scored) for pair in combinations(names, 2)),
    )


def _match(readings: Sequence[Reading], images: pd.DataFrame) -> Int[np.ndarray, " reading"]:
    """Return the row of each reading's image; -1: there is none, or several have that name."""
    paths = [str(path) for path in images["path"]]
    keys = (paths, [PurePath(path).name for path in paths], [str(name) for name in images["image_id"]])
    tables = []
    for names in keys:
        counts = Counter(names)
        tables.append({name: row for row, name in enumerate(names) if counts[name] == 1})
    return np.array([next((table[one.image] for table in tables if one.image in table), -1) for one in readings], int)


def _take_latest(matched: Sequence[tuple[int, Reading]]) -> dict[tuple[str, int], Reading]:
    """Return the reading that counts of each reader and image."""
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


def _measure_reader(name: str, found: dict[int, Reading], scored: Scored) -> ReaderFigures:
    rows, is_melanoma = _diagnosed(found, scored)
    is_referred, group = scored.is_referred[rows], scored.group[rows]
    attempt = Attempts().attempt
    return ReaderFigures(
        reader=name,
        num_images=len(found),
        verdicts=dict(Counter(one.verdict for one in found.values() if one.verdict)),
        num_diagnosed=len(rows),
        sensitivity=attempt("sensitivity", lambda: estimate_sensitivity(is_referred, is_melanoma, group)),
        specificity=attempt("specificity", lambda: estimate_specificity(is_referred, is_melanoma, group)),
        kappa=attempt("kappa", lambda: estimate_kappa(is_referred, is_melanoma, group)),
    )


def _diagnosed(found: dict[int, Reading], scored: Scored) -> tuple[Int[np.ndarray, " read"], Bool[np.ndarray, " read"]]:
    """Return the rows that a reader has diagnosed, and which of them the reader holds for melanoma."""
    rows = np.array([row for row, one in found.items() if one.diagnosis is not None], np.int64)
    return rows, np.array([found[int(row)].diagnosis in scored.referred for row in rows], bool)


def _measure_pair(pair: tuple[str, str], by_reader: dict[str, dict[int, Reading]], scored: Scored) -> PairFigures:
    words = [dict(zip(*(part.tolist() for part in _diagnosed(by_reader[name], scored)), strict=True)) for name in pair]
    shared = np.array(sorted(words[0].keys() & words[1].keys()), np.int64)
    first, second = (np.array([one[int(row)] for row in shared], bool) for one in words)
    kappa = Attempts().attempt("kappa", lambda: estimate_kappa(first, second, scored.group[shared]))
    return PairFigures(first=pair[0], second=pair[1], num_images=len(shared), kappa=kappa)
