"""The nine diagnoses of the ISIC set this project began with, and every name they go by.

Order is part of the contract: the i-th output of a network trained on all nine is ``DIAGNOSES[i]``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Int64

from melanoma_ray.errors import DataError

DIAGNOSES: tuple[str, ...] = (
    "actinic keratosis",
    "basal cell carcinoma",
    "dermatofibroma",
    "melanoma",
    "nevus",
    "pigmented benign keratosis",
    "seborrheic keratosis",
    "squamous cell carcinoma",
    "vascular lesion",
)
MELANOMA = "melanoma"
MALIGNANT: frozenset[str] = frozenset({"melanoma", "basal cell carcinoma", "squamous cell carcinoma"})
"""Actinic keratosis is pre-malignant and not counted."""

_TAXONOMY = "taxonomy.csv"
_COLUMNS = ("name", "diagnosis")


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """What the words for a lesion mean here; ``load_taxonomy`` makes one.

    Attributes:
        meanings: Normalised name → canonical diagnosis, or nothing: known, but none of the nine.
        wider: Normalised name → every diagnosis that it may mean, where that is more than one.
    """

    meanings: Mapping[str, str | None]
    wider: Mapping[str, tuple[str, ...]]

    def parse(self, name: str) -> str | None:
        """Return the canonical diagnosis for a name in any case, with any separator; none: it isn't one of the nine.

        Raises:
            DataError: The name is unknown; the message lists the known ones.
        """
        normal = _normalize(name)
        if normal in self.meanings:
            return self.meanings[normal]
        known, others = ", ".join(DIAGNOSES), ", ".join(sorted(set(self.meanings) - set(DIAGNOSES)))
        msg = f"diagnosis {name!r} is unknown: expected one of {known} (or {others}); a taxonomy table can add it"
        raise DataError(msg)

    def covers(self, name: str) -> tuple[str, ...]:
        """Return every diagnosis that a name may mean: HAM10000's ``akiec`` is also Bowen's disease, a carcinoma."""
        meaning = self.parse(name)
        return self.wider.get(_normalize(name), () if meaning is None else (meaning,))

    def knows(self, name: str) -> bool:
        """Tell whether a name is known."""
        return _normalize(name) in self.meanings


def load_taxonomy(text: str | None = None) -> Taxonomy:
    """Return the built-in taxonomy (melanoma_ray/taxonomy.csv), with a table of one's own laid over it.

    Args:
        text: A CSV with the columns name and diagnosis (one of the nine; empty: leave such images out),
            and, if a name may mean several, covers (``actinic keratosis|squamous cell carcinoma``).

    Raises:
        DataError: The table has no such columns, or names a diagnosis that isn't one of the nine.
    """
    rows = [*_read_rows(_built_in_text()), *([] if text is None else _read_rows(text))]
    meanings = {_normalize(name): diagnosis for name, diagnosis, _ in rows}
    return Taxonomy(meanings, {_normalize(name): covers for name, _, covers in rows if covers})


@lru_cache(maxsize=1)
def _built_in_text() -> str:
    return (resources.files("melanoma_ray") / _TAXONOMY).read_text()


def _read_rows(text: str) -> list[tuple[str, str | None, tuple[str, ...]]]:
    reader = csv.DictReader(io.StringIO(text))
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        msg = f"taxonomy table: has columns {', '.join(reader.fieldnames or ())}; expected name and diagnosis"
        raise DataError(msg)
    rows = []
    for row in reader:
        covers = tuple(part.strip() for part in (row.get("covers") or "").split("|") if part.strip())
        for diagnosis in {row["diagnosis"].strip(), *covers} - {""} - set(DIAGNOSES):
            msg = f"taxonomy table: {row['name']!r} is said to be {diagnosis!r}; expected one of {', '.join(DIAGNOSES)}"
            raise DataError(msg)
        rows.append((row["name"], row["diagnosis"].strip() or None, covers))
    return rows


def _normalize(name: str) -> str:
    return " ".join(re.split(r"[\s_\-]+", name.strip().lower()))


def parse_diagnosis(name: str) -> str:
    """Return the canonical diagnosis for a name, by the built-in taxonomy.

    HAM10000's ``akiec`` (actinic keratosis or Bowen's disease) becomes actinic keratosis and its
    ``bkl`` (solar lentigo, seborrheic or lichen-planus-like keratosis) pigmented benign keratosis,
    as in the ISIC archive's own nine-class set (Tschandl 2018, doi:10.1038/sdata.2018.161).

    Args:
        name: Such as ``Actinic_Keratosis``, ``akiec`` or ``MEL``.

    Raises:
        DataError: The name is unknown, or none of the nine; the message lists the known ones.
    """
    diagnosis = load_taxonomy().parse(name)
    if diagnosis is None:
        msg = f"diagnosis {name!r} is none of the nine: expected one of {', '.join(DIAGNOSES)}"
        raise DataError(msg)
    return diagnosis


def sort_diagnoses(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct canonical names in the order of ``DIAGNOSES``."""
    present = set(names)
    return tuple(diagnosis for diagnosis in DIAGNOSES if diagnosis in present)


def class_numbers(names: Iterable[str], diagnoses: Sequence[str]) -> Int64[np.ndarray, " image"]:
    """Return the class number of each diagnosis: its place among a model's, or -1 for one that it doesn't know.

    >>> class_numbers(["nevus", "melanoma", "dermatofibroma"], ("melanoma", "nevus")).tolist()
    [1, 0, -1]
    """
    number_of = {diagnosis: number for number, diagnosis in enumerate(diagnoses)}
    return np.array([number_of.get(name, -1) for name in names], np.int64)
