"""worklist.html: a folder of images in the order in which a dermatologist should look at them, and their word for each.

The page is one file that asks no network for anything. Its script filters, sorts, enlarges, and keeps what the reader
says in the browser's local storage until it is exported as reviewed.csv (``docs/evaluation.md``); without the script
the page is a list that can be read and printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from melanoma_ray.api import Decision
from melanoma_ray.errors import DataError
from melanoma_ray.reports.page import render_page
from melanoma_ray.wording import count

OTHER = "other"
"""Word of the taxonomy for a lesion that is none of the diagnoses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistRow:
    """One image, which has either a probability, a decision and a diagnosis, or an error."""

    image_id: str
    path: str
    melanoma_probability: float | None
    """Calibrated probability of what is referred, in [0, 1]; none if there is no answer."""
    decision: Decision | None
    top_diagnosis: str | None
    """Predicted diagnosis."""
    thumbnail: str | None
    """Copy of the image as a ``data:`` URI; the page enlarges it."""
    error: str | None
    """Reason why there is no answer for the image; none: there is one."""
    warnings: Sequence[str] = ()
    """What is wrong with the image itself."""
    patient_id: str | None = None
    lesion_id: str | None = None
    is_ugly_duckling: bool = False
    """Whether this lesion differs most from the patient's others."""
    overlay: str | None = None
    """The image under the map of what the network went by, as a ``data:`` URI; none: it wasn't computed."""
    copies: Sequence[str] = ()
    """Paths of other files with the same picture, which the answer is for, too."""

    def __post_init__(self) -> None:
        """Refuse a row that would be missing from both lists of the page.

        Raises:
            DataError: It has neither an error nor both a probability and a decision.
        """
        if self.error is None and (self.melanoma_probability is None or self.decision is None):
            msg = f"image {self.image_id!r}: expected an error, or a melanoma probability and a decision"
            raise DataError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worklist:
    """What all pages of one worklist share."""

    title: str
    is_synthetic: bool
    """Whether the model was trained on synthetic images."""
    decision_threshold: float
    """Melanoma probability from which an image is referred."""
    diagnoses: Sequence[str]
    """Diagnoses that a reader may choose."""
    worklist_id: str
    """Text under which the browser keeps what is said of these images; another for another worklist."""
    num_by_decision: Mapping[Decision, int]
    """Images of all pages."""
    referred_for: str = "melanoma"
    """What the probability is of: melanoma or malignancy."""
    pages: Sequence[str] = ("worklist.html",)
    """File names of all pages, in their order."""
    unreadable: Sequence[WorklistRow] = ()
    """Images without an answer, which the first page lists."""
    num_unreadable: int = 0
    """Number of all images without an answer; with those that aren't listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistGroup:
    """Rows that stand together: a patient's images, or one image of an unknown patient."""

    title: str | None
    """What is said above the rows; none: nothing."""
    rows: Sequence[tuple[int, WorklistRow]]
    """Place and image."""


def render_worklist(worklist: Worklist, rows: Sequence[WorklistRow], *, number: int = 1, first_place: int = 1) -> str:
    """Return a page of the worklist as one HTML document.

    Args:
        worklist: What all pages share.
        rows: Images with an answer, as they are to stand; a patient's images stand together.
        number: Number of the page, from 1.
        first_place: Place of the first row in the whole worklist.
    """
    context = {
        "worklist": worklist,
        "number": number,
        "groups": _group(rows, first_place),
        "num_rows": len(rows),
        "last_place": first_place + len(rows) - 1,
        "first_place": first_place,
        "num_images": sum(worklist.num_by_decision.values()),
        "has_overlays": any(row.overlay for row in rows),
        "predicted": sorted({row.top_diagnosis for row in rows if row.top_diagnosis}),
        "choices": [*worklist.diagnoses, *([] if OTHER in worklist.diagnoses else [OTHER])],
    }
    return render_page(
        "worklist.html",
        title=worklist.title if number == 1 else f"{worklist.title}, page {number}",
        is_synthetic=worklist.is_synthetic,
        context=context,
        script="worklist.js",
    )


def _group(rows: Sequence[WorklistRow], first_place: int) -> list[WorklistGroup]:
    """Return the rows with what is said above those of a patient."""
    groups: list[list[tuple[int, WorklistRow]]] = []
    for place, row in enumerate(rows, first_place):
        last = groups[-1][-1][1] if groups else None
        if last is not None and row.patient_id is not None and last.patient_id == row.patient_id:
            groups[-1].append((place, row))
        else:
            groups.append([(place, row)])
    return [WorklistGroup(title=_describe_patient([row for _, row in group]), rows=group) for group in groups]


def _describe_patient(rows: Sequence[WorklistRow]) -> str | None:
    """Return whose images these are, and of how many lesions; none: nobody knows."""
    if rows[0].patient_id is None:
        return None
    lesions = Counter(row.lesion_id for row in rows if row.lesion_id is not None)
    images = count(len(rows), "image")
    of_lesions = f" of {count(len(lesions), 'lesion')}" if lesions.total() == len(rows) else ""
    return f"Patient {rows[0].patient_id}: {images}{of_lesions}"
