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
    """One image: either assessed, with probability, decision and diagnosis, or an error."""

    image_id: str
    path: str
    melanoma_probability: float | None
    """Calibrated, in [0, 1]; none if the image couldn't be read."""
    decision: Decision | None
    top_diagnosis: str | None
    """The most probable one."""
    thumbnail: str | None
    """A ``data:`` URI."""
    error: str | None
    """Why the image couldn't be read; none: it could."""

    def __post_init__(self) -> None:
        """Refuse a row that would vanish from both lists.

        Raises:
            DataError: Neither an error nor a probability with a decision.
        """
        if self.error is None and (self.melanoma_probability is None or self.decision is None):
            msg = f"image {self.image_id!r} has neither an error nor a probability and a decision: expected one of them"
            raise DataError(msg)


def render_worklist(rows: Sequence[WorklistRow], *, title: str, is_synthetic: bool, decision_threshold: float) -> str:
    """Return the worklist as one HTML document, most urgent first, unreadable images apart.

    Args:
        rows: In any order.
        title: Of the page.
        is_synthetic: Of the model or the images.
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
    """Sort an image that can't be assessed among those to refer: both need eyes now."""
    return row.decision == "routine", -(row.melanoma_probability or 0.0), row.image_id
