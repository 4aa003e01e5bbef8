"""The nine diagnoses of the ISIC set this project began with, and every name they go by.

Order is part of the contract: the i-th output of a network trained on all nine is ``DIAGNOSES[i]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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

_ALIASES: dict[str, str] = {
    "ak": "actinic keratosis",
    "akiec": "actinic keratosis",
    "solar keratosis": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "nevus",
    "naevus": "nevus",
    "melanocytic nevus": "nevus",
    "bkl": "pigmented benign keratosis",
    "pbk": "pigmented benign keratosis",
    "benign keratosis": "pigmented benign keratosis",
    "sk": "seborrheic keratosis",
    "seborrhoeic keratosis": "seborrheic keratosis",
    "scc": "squamous cell carcinoma",
    "vasc": "vascular lesion",
    "vascular": "vascular lesion",
}


def _normalize(name: str) -> str:
    return " ".join(re.split(r"[\s_\-]+", name.strip().lower()))


def parse_diagnosis(name: str) -> str:
    """Return the canonical diagnosis for a name in any case, with any separator.

    HAM10000's ``akiec`` (actinic keratosis or Bowen's disease) becomes actinic keratosis and its
    ``bkl`` (solar lentigo, seborrheic or lichen-planus-like keratosis) pigmented benign keratosis,
    as in the ISIC archive's own nine-class set (Tschandl 2018, doi:10.1038/sdata.2018.161).

    Args:
        name: Such as ``Actinic_Keratosis``, ``akiec`` or ``MEL``.

    Raises:
        DataError: The name is unknown; the message lists the known ones.
    """
    normal = _normalize(name)
    if normal in DIAGNOSES:
        return normal
    if normal in _ALIASES:
        return _ALIASES[normal]
    known = ", ".join(DIAGNOSES)
    short = ", ".join(sorted(_ALIASES))
    msg = f"diagnosis {name!r} is unknown: expected one of {known} (or {short})"
    raise DataError(msg)


def sort_diagnoses(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct canonical names in the order of ``DIAGNOSES``."""
    present = set(names)
    return tuple(diagnosis for diagnosis in DIAGNOSES if diagnosis in present)


def column_name(diagnosis: str) -> str:
    """Return the column of a diagnosis in predictions.parquet: ``probability_basal_cell_carcinoma``."""
    return "probability_" + diagnosis.replace(" ", "_")
