"""How the model and its readers agree, by the readings of reviewed.csv (``sources/readings.py``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from melanoma_ray.errors import DataError
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.metrics.agreement import estimate_kappa
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_specificity
from melanoma_ray.sources.readings import NO_CLASS, Reading, match_readings, take_latest


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderFigures:
    """How the model and one reader agree."""

    reader: str
    num_images: int
    """Evaluated images that this reader has read."""
    verdicts: dict[str, int]
    """Number of images by verdict."""
    num_diagnosed: int
    """Images with the reader's own diagnosis, where it tells what the report is about; the figures are of these."""
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


def measure_readers(readings: Sequence[Reading], images: pd.DataFrame, scored: Scored) -> Readers:
    """Return how the model and the readers agree.

    Args:
        readings: Rows of reviewed.csv.
        images: Index rows of the evaluated images.
        scored: The model's answers for them.

    Raises:
        DataError: No reading is of an evaluated image.
    """
    rows = match_readings(readings, images)
    matched = [(row, reading) for row, reading in zip(rows, readings, strict=True) if row >= 0]
    if not matched:
        first = readings[0].image if readings else "no row"
        msg = f"reference: none of the {len(readings)} readings ({first} …) is of an evaluated image; give paths or ids"
        raise DataError(msg)
    latest = take_latest(matched)
    names = sorted({reader for reader, _ in latest})
    by_reader = {name: {row: one for (reader, row), one in latest.items() if reader == name} for name in names}
    return Readers(
        num_readings=len(readings),
        num_unmatched=len(readings) - len(matched),
        num_superseded=len(matched) - len(latest),
        readers=tuple(_measure_reader(name, found, scored) for name, found in by_reader.items()),
        pairs=tuple(_measure_pair(pair, by_reader, scored) for pair in combinations(names, 2)),
    )


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
    held = {row: _holds(one, scored) for row, one in found.items()}
    told = {row: is_melanoma for row, is_melanoma in held.items() if is_melanoma is not None}
    return np.array(list(told), np.int64), np.array(list(told.values()), bool)


def _holds(reading: Reading, scored: Scored) -> bool | None:
    """Return whether a reader holds an image for what the report is about; none: the reader's word doesn't tell.

    A word that means no class may still tell: benign is no melanoma, and malignant is malignant. But malignant may be
    a melanoma, or not.
    """
    if reading.diagnosis is None:
        return None
    if reading.diagnosis != NO_CLASS:
        return reading.diagnosis in (*scored.referred, *(scored.malignant if scored.about == "malignancy" else ()))
    return reading.is_malignant if scored.about == "malignancy" else reading.is_melanoma


def _measure_pair(pair: tuple[str, str], by_reader: dict[str, dict[int, Reading]], scored: Scored) -> PairFigures:
    words = [dict(zip(*(part.tolist() for part in _diagnosed(by_reader[name], scored)), strict=True)) for name in pair]
    shared = np.array(sorted(words[0].keys() & words[1].keys()), np.int64)
    first, second = (np.array([one[int(row)] for row in shared], bool) for one in words)
    kappa = Attempts().attempt("kappa", lambda: estimate_kappa(first, second, scored.group[shared]))
    return PairFigures(first=pair[0], second=pair[1], num_images=len(shared), kappa=kappa)
