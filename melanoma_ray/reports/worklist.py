"""worklist.html: a folder of images in the order in which a dermatologist should look at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from melanoma_ray.api import Decision
from melanoma_ray.errors import DataError
from melanoma_ray.reports.page import render_page


@dataclass(frozen=True, kw_only=True, slots=True)
class WorklistRow:
    """One image, which has either a probability, a decision and a diagnosis, or an error."""

    image_id: str
    path: str
    melanoma_probability: float | None
    """Calibrated probability of melanoma, in [0, 1]; none if there is no answer."""
    decision: Decision | None
    top_diagnosis: str | None
    """Predicted diagnosis."""
    thumbnail: str | None
    """Small copy of the image as a ``data:`` URI."""
    error: str | None
    """Reason why there is no answer for the image; none: there is one."""
    warnings: Sequence[str] = ()
    """What is wrong with the image itself."""

    def __post_init__(self) -> None:
        """Refuse a row that would be missing from both lists of the page.

        Raises:
            DataError: It has neither an error nor both a probability and a decision.
        """
        if self.error is None and (self.melanoma_probability is None or self.decision is None):
            msg = f"image {self.image_id!r}: expected an error, or a melanoma probability and a decision"
            raise DataError(msg)


def render_worklist(rows: Sequence[WorklistRow], *, title: str, is_synthetic: bool, decision_threshold: float) -> str:
    """Return the worklist as one HTML document: the most urgent images first, unreadable ones in a list of their own.

    Args:
        rows: Images in any order.
        title: Title of the page.
        is_synthetic: Whether the model was trained on synthetic images.
        decision_threshold: Melanoma probability from which an image is referred.
    """
    assessed = sorted((row for row in rows if row.error is None), key=_urgency)
    unreadable = sorted((row for row in rows if row.error is not None), key=lambda row: row.path)
    context = {
        "assessed": assessed,
        "unreadable": unreadable,
        "num_by_decision": Counter(row.decision for row in assessed),
        "decision_threshold": decision_threshold,
    }
    return render_page("worklist.html", title=title, is_synthetic=is_synthetic, context=context)


def _urgency(row: WorklistRow) -> tuple[bool, float, str]:
    """Return the sort key: unassessable images rank with those to refer, since a person must look at both now."""
    return row.decision == "routine", -(row.melanoma_probability or 0.0), row.image_id
